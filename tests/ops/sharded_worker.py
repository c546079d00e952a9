"""One of two gloo processes: sharded calls against the whole ones, with equal bits.

    sharded_worker.py RANK STORE

Prints the cases it has been through.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, NoReturn

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_tensor,
)
from torch.distributed.tensor.debug import CommDebugMode

import ropescale_kernels as rk

WORLD = 2
SCALING = rk.RopeScaling.yarn(
    rotary_dim=16, rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768
)
SECTIONED = rk.RopeScaling.default(rotary_dim=16, rope_theta=1e6, mrope_section=[4, 2, 2])
TABLE = rk.RotaryTable(SCALING)
AXES = rk.RotaryTable(SECTIONED)
PROFILES = rk.RotaryTable([SCALING, rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4)])


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole_q_and_k(heads_first: bool = False, seqlen: int = 6) -> tuple[Tensor, Tensor]:
    q, k = draw(4, seqlen, 4, 20, seed=0), draw(4, seqlen, 2, 20, seed=1)
    if heads_first:
        return tuple(x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k))  # type: ignore[return-value]
    return q, k


def cut(x: Tensor, mesh: Any, at: Placement) -> Tensor:
    """Distribute x; the shards of a heads-first view are such views."""
    if x.is_contiguous():
        return distribute_tensor(x, mesh, [at])
    swapped = {1: Shard(2), 2: Shard(1)}.get(getattr(at, "dim", 0), at)
    return distribute_tensor(x.transpose(1, 2), mesh, [swapped]).transpose(1, 2)


def equal(got: Any, want: Tensor) -> None:
    assert isinstance(got, DTensor)
    assert got.shape == want.shape
    assert got.stride() == want.stride(), (got.stride(), want.stride())
    assert torch.equal(got.full_tensor(), want)


def forward_and_backward(mesh: Any, q_at: Placement, k_at: Placement, **call: Any) -> None:
    """Compare with one process: values, gradients, and that nothing was communicated."""
    q, k = whole_q_and_k(call.pop("heads_first", False), call.pop("seqlen", 6))
    table, positions = call.pop("table", TABLE), call.pop("positions")
    local_positions = call.pop("local_positions", None)
    ids = call.pop("profile_ids", None)
    leaves = [x.detach().requires_grad_() for x in (q, k)]
    want = rk.apply_rotary_qk(*leaves, positions, table, profile_ids=ids, **call)
    upstream = [draw(*x.shape, seed=5).as_strided(x.shape, x.stride()) for x in (q, k)]
    grads = torch.autograd.grad(list(want), leaves, upstream)  # type: ignore[arg-type]

    shards = [cut(x, mesh, at).requires_grad_() for x, at in zip((q, k), (q_at, k_at), strict=True)]
    given = [cut(g, mesh, at) for g, at in zip(upstream, (q_at, k_at), strict=True)]
    if local_positions is None:
        positions = distribute_tensor(positions, mesh, [Replicate()])
        ids = None if ids is None else distribute_tensor(ids, mesh, [Replicate()])
    else:
        positions = local_positions
    with CommDebugMode() as seen:
        got = rk.apply_rotary_qk(*shards, positions, table, profile_ids=ids, **call)
        got_grads = torch.autograd.grad(list(got), shards, given)  # type: ignore[arg-type]
    assert seen.get_total_counts() == 0, seen.get_comm_counts()
    for x, y in zip((*got, *got_grads), (*want, *grads), strict=True):
        assert y is not None
        equal(x, y.detach())
    with torch.no_grad():
        copies = [cut(x.clone(), mesh, at) for x, at in zip((q, k), (q_at, k_at), strict=True)]
        with CommDebugMode() as seen:
            rk.apply_rotary_qk_(*copies, positions, table, profile_ids=ids, **call)
        assert seen.get_total_counts() == 0
        for x, y in zip(copies, want, strict=True):
            assert torch.equal(x.full_tensor(), y)


def refused(kind: type[Exception], words: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        rk.apply_rotary_qk(*arguments, **options)


def main(rank: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORLD)
    mesh = init_device_mesh("cpu", (WORLD,))
    at = torch.arange(6) * 1009
    by_batch = at + torch.arange(4)[:, None]
    long = torch.arange(8) * 1009
    by_sequence = torch.tensor([0, 1, 1, 0], dtype=torch.int32)
    cases: dict[str, tuple[Placement, Placement, dict[str, Any]]] = {
        "batch": (Shard(0), Shard(0), {"positions": by_batch}),
        "batch, shared positions": (Shard(0), Shard(0), {"positions": at}),
        "batch, local positions": (
            Shard(0),
            Shard(0),
            {"positions": by_batch, "local_positions": by_batch.chunk(WORLD)[rank]},
        ),
        "tokens": (Shard(1), Shard(1), {"positions": at, "heads_first": True}),
        "tokens, local positions": (
            Shard(1),
            Shard(1),
            {"positions": at, "local_positions": at.chunk(WORLD)[rank]},
        ),
        "heads": (Shard(2), Shard(2), {"positions": at, "interleaved": True}),
        "heads of q alone": (Shard(2), Replicate(), {"positions": at, "conjugate": True}),
        "replicas": (Replicate(), Replicate(), {"positions": at, "phase": "float32"}),
        "axes": (
            Shard(1),
            Shard(1),
            {"positions": torch.stack([by_batch] * 3), "table": AXES},
        ),
        "profiles": (
            Shard(0),
            Shard(0),
            {"positions": at, "table": PROFILES, "profile_ids": by_sequence},
        ),
        "profiles of tokens": (
            Shard(1),
            Shard(1),
            {"positions": at, "table": PROFILES, "profile_ids": at.int() % 2},
        ),
        # A shard has as many sequences as tokens.
        "profiles of tokens, square shards": (
            Shard(1),
            Shard(1),
            {"positions": long, "table": PROFILES, "profile_ids": long.int() % 2, "seqlen": 8},
        ),
    }
    for name, (q_at, k_at, call) in cases.items():
        forward_and_backward(mesh, q_at, k_at, **call)
        print(name, flush=True)

    q, k = whole_q_and_k()
    sharded = [distribute_tensor(x, mesh, [Shard(1)]) for x in (q, k)]
    cos, sin = draw(4, 6, 8, seed=2), draw(4, 6, 8, seed=3)
    want = rk.apply_rotary_cos_sin(q, k, cos, sin, rows="half")
    rows = [distribute_tensor(x, mesh, [Replicate()]) for x in (cos, sin)]
    got = rk.apply_rotary_cos_sin(*sharded, *rows, rows="half")
    for x, y in zip(got, want, strict=True):
        assert y is not None
        equal(x, y)
    # Rows of each axis, with an axis for heads, whole and as this rank's own.
    of_axes = draw(3, 4, 1, 6, 16, seed=2), draw(3, 4, 1, 6, 16, seed=3)
    options = {"rows": "repeated", "mrope_section": [4, 2, 2]}
    want = rk.apply_rotary_cos_sin(q, k, *of_axes, **options)
    rows = [distribute_tensor(x, mesh, [Replicate()]) for x in of_axes]
    own = [x.chunk(WORLD, dim=3)[rank] for x in of_axes]
    for given in (rows, own):
        for x, y in zip(rk.apply_rotary_cos_sin(*sharded, *given, **options), want, strict=True):
            assert y is not None
            equal(x, y)
    # Five tokens over two ranks: shards of three and two.
    uneven = distribute_tensor(q[:, :5], mesh, [Shard(1)])
    positions = distribute_tensor(at[:5], mesh, [Replicate()])
    got = rk.apply_rotary_qk(uneven, None, positions, TABLE)[0]
    equal(got, rk.apply_rotary_qk(q[:, :5].contiguous(), None, at[:5], TABLE)[0])
    print("rows, uneven", flush=True)

    unsupported, wrong = rk.RopeScaleUnsupportedError, rk.RopeScaleValueError
    seven = distribute_tensor(torch.arange(7), mesh, [Replicate()])
    refused(wrong, "position_ids: expected shape (4, 6)", *sharded, seven, TABLE)
    refused(wrong, "got shape (7,)", *sharded, seven, TABLE)
    split = distribute_tensor(q, mesh, [Shard(3)])
    refused(unsupported, "q: expected shards of batch, tokens or heads", split, None, at, TABLE)
    partial = DTensor.from_local(q, mesh, [Partial()])
    refused(unsupported, "q: expected shards or replicas", partial, None, at, TABLE)
    refused(unsupported, "k: expected a DTensor", sharded[0], k, at, TABLE)
    by_head = distribute_tensor(k, mesh, [Shard(0)])
    refused(wrong, "k: expected batch and tokens placed", sharded[0], by_head, at, TABLE)
    # Positions of all tokens where this rank has half of them.
    refused(wrong, "position_ids: expected shape (4, 3)", *sharded, at, TABLE)
    refused(unsupported, "out: expected None", *sharded, at, TABLE, out=tuple(sharded))
    with pytest.raises(unsupported, match="q: expected no grad of a DTensor in place"):
        rk.apply_rotary_qk_(sharded[0].requires_grad_(), None, at.chunk(WORLD)[rank], TABLE)
    wrongly_cut = distribute_tensor(by_batch, mesh, [Shard(0)])
    refused(wrong, "position_ids: expected S", *sharded, wrongly_cut, TABLE)
    print("refusals", flush=True)
    dist.destroy_process_group()


def leave() -> NoReturn:
    """End without finalizing Python.

    After its last check this process was once seen to abort while Python was being torn down, as
    pytorch/pytorch#179291 tells of gloo's threads, which may still hold tensors then.
    """
    print("done", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
    leave()
