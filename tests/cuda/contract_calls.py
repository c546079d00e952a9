"""Small calls that together reach every line of the CUDA kernels.

    contract_calls.py MODULE...

Compares the emulated kernels of each extension with the CPU kernels, bit for bit. Threads run in
three orders if one extension is given, else in one. Prints "MODULE: 0" for an extension that
passes, else "MODULE: " and the exit status of its process.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from support.bits import WORDS, differing
from torch import Tensor

import ropescale_kernels as rk
from tools import emulated_cuda

ORDERS = tuple(emulated_cuda.ORDERS.values())
YARN: Any = {"rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 4096}
INTERLEAVED: Any = {"interleaved": True}
Call = tuple[str, Tensor, Tensor | None, tuple[Any, ...], dict[str, Any]]


def yarn(rotary_dim: int, factor: float = 4.0) -> rk.RopeScaling:
    return rk.RopeScaling.yarn(rotary_dim=rotary_dim, **(YARN | {"factor": factor}))


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape).to(dtype)


def positions(*shape: int) -> Tensor:
    return torch.randint(-(2**40), 2**40, shape)


def layouts(dtype: torch.dtype) -> Iterator[Call]:
    """Yield calls of different sizes, strides and alignments."""
    # (head_dim, rotary_dim): whole vectors, an odd number of vectors, no whole vectors, and rows
    # with copied channels.
    sizes = ((64, 64), (40, 40), (24, 24), (46, 46), (128, 32), (48, 16), (23, 6), (2, 2))
    for head_dim, rotary_dim in sizes:
        table = rk.RotaryTable(yarn(rotary_dim))
        for options in ({}, INTERLEAVED):
            q, k = draw(2, 3, 7, head_dim, dtype=dtype), draw(2, 3, 2, head_dim, dtype=dtype)
            yield f"{head_dim}/{rotary_dim}", q, k, (positions(2, 3), table), options
    table = rk.RotaryTable(yarn(64))
    # More tokens than a block has threads, in several blocks; and q alone.
    yield "tokens", draw(150, 2, 64, dtype=dtype), None, (positions(150), table), {}
    # (batch, nheads, seqlen, head_dim) in memory.
    heads_first = draw(2, 9, 3, 64, dtype=dtype).transpose(1, 2)
    yield "heads first", heads_first, None, (positions(1, 3), table), {}
    # A group of heads is larger than the number of heads in flight.
    many_heads = draw(2, 90, 3, 64, dtype=dtype).transpose(1, 2)
    yield "many heads", many_heads, None, (positions(1, 3), table), {}
    # The address is no multiple of 16 bytes.
    odd = draw(3 * 2 * 64 + 1, dtype=dtype)[1:].view(3, 2, 64)
    yield "odd address", odd, None, (positions(3), table), {}
    # The stride of a head is no multiple of 16 bytes.
    packed = draw(4, 6, 66, dtype=dtype)[..., :64]
    yield "odd stride", packed[:, :4], packed[:, 4:], (positions(4).int(), table), {}
    # The rotated channels are whole vectors, the copied ones are not.
    small = rk.RotaryTable(yarn(16))
    wide = draw(3, 2, 24, dtype=dtype)[..., :21]
    yield "odd rest", wide, None, (positions(3), small), {}


def tables() -> Iterator[Call]:
    """Yield calls with different tables and options."""
    q, k, at = draw(2, 3, 5, 64), draw(2, 3, 2, 64), positions(2, 3)
    for conjugate, phase in itertools.product((False, True), ("exact", "float32")):
        options = {"conjugate": conjugate, "phase": phase}
        yield "options", q, k, (at, rk.RotaryTable(yarn(64))), options
    endless = rk.RotaryTable.from_inv_freq(torch.full((32,), 3e38))
    yield "infinite angles", q, k, (at, endless), {"phase": "float32"}
    three = rk.RotaryTable([yarn(64, factor) for factor in (2.0, 4.0, 8.0)])
    ids = torch.tensor([[0, 1, 2], [3, -1, 1]], dtype=torch.int32)
    yield "profiles", q, k, (at, three), {"profile_ids": ids}
    yield "a profile a sequence", q, k, (at, three), {"profile_ids": ids[0, 1:]}
    dynamic = rk.RotaryTable([yarn(64, f) for f in (2.0, 4.0, 8.0)], dynamic=True)
    dynamic.update_(torch.tensor([100, 40_000, 9000]))
    yield "dynamic", q, k, (at, dynamic), {"profile_ids": ids}
    yield "dynamic, float32", q, k, (at, dynamic), {"profile_ids": ids, "phase": "float32"}
    for magnitude in ("query", "none"):
        yield magnitude, q, k, (at, rk.RotaryTable(yarn(64), magnitude=magnitude)), {}
    axes = rk.RotaryTable.from_inv_freq(yarn(64).inv_freq, mrope_section=(16, 8, 8))
    yield "axes", q, k, (positions(3, 2, 3), axes), {}
    yield "axes, one position", q, k, (at, axes), {}


def rows() -> Iterator[Call]:
    """Yield calls with the caller's cosines and sines."""
    for dtype, kind in itertools.product(WORDS, WORDS):
        q, k = draw(2, 3, 5, 64, dtype=dtype), draw(2, 3, 2, 64, dtype=dtype)
        cos, sin = draw(9, 64, dtype=kind), draw(9, 64, dtype=kind)
        index = torch.tensor([[0, 8, 9], [-1, 4, 2**33]])
        yield "rows by index", q, k, (cos, sin, index), {"rotary_dim": 64}
        own = draw(2, 3, 32, dtype=kind), draw(2, 3, 32, dtype=kind)
        yield "rows", q, k, own, {"conjugate": True}


def guarded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a buffer of canaries and a poisoned output inside it, aligned like a fresh tensor."""
    memory = torch.full((x.numel() + 32,), 7.0, dtype=x.dtype)
    out = memory[16:-16].view(x.shape)
    out.fill_(float("nan"))
    return memory, out


def check(name: str, q: Tensor, k: Tensor | None, rest: tuple[Any, ...], options: Any) -> None:
    has_rows = len(rest) == 3 or rest[0].is_floating_point()
    apply = rk.apply_rotary_cos_sin if has_rows else rk.apply_rotary_qk
    wants = apply(q, k, *rest, impl="cpu", **options)
    buffers = [None if x is None else guarded(x) for x in (q, k)]
    outs: Any = tuple(None if each is None else each[1] for each in buffers)
    apply(q, k, *rest, impl="cuda", out=outs, **options)
    for each, want in zip(buffers, wants, strict=True):
        if each is None or want is None:
            continue
        memory, out = each
        assert not differing(out, want), f"{name}: out of place"
        canaries = torch.cat([memory[:16], memory[-16:]])
        assert bool((canaries == 7).all()), f"{name}: written beside the output"
    # Into a copy of the layout, and in place. The memory between the rows must not change.
    for in_place in (False, True):
        copies: Any = [None if x is None else copy_of(x) for x in (q, k)]
        ins = copies if in_place else (q, k)
        for copy in copies:
            if copy is not None and not in_place:
                copy.fill_(float("nan"))
        apply(*ins, *rest, impl="cuda", out=tuple(copies), **options)
        for x, copy, want in zip((q, k), copies, wants, strict=True):
            if x is None or want is None:
                continue
            assert not differing(copy, want), f"{name}: into a layout, in place: {in_place}"
            copy.copy_(x)
            assert torch.equal(storage_of(copy), storage_of(x)), f"{name}: between the rows"


def storage_of(x: Tensor) -> Tensor:
    flat = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
    return flat.view(WORDS[x.dtype])


def copy_of(x: Tensor) -> Tensor:
    """Return a copy with equal strides and storage offset over a storage of its own."""
    storage = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).clone()
    return storage.as_strided(x.shape, x.stride(), x.storage_offset())


def gradients() -> None:
    """Compare the gradients of inv_freq, which are close to the CPU's but not bit-equal."""
    for interleaved in (False, True):
        source = yarn(64).inv_freq.clone().requires_grad_()
        results = []
        for impl in ("cpu", "cuda"):
            table = rk.RotaryTable.from_inv_freq(source)
            torch.manual_seed(1)
            q, k = draw(3, 5, 2, 64), draw(3, 5, 1, 64)
            out = rk.apply_rotary_qk(
                q, k, torch.arange(5), table, impl=impl, interleaved=interleaved
            )
            weighted = [x * torch.randn(x.shape) for x in out if x is not None]
            loss = sum(x.sum() for x in weighted)
            results.append(torch.autograd.grad(loss, source)[0])
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def run(path: Path, orders: tuple[int, ...]) -> None:
    emulated_cuda.serve(emulated_cuda.load(path))
    device = emulated_cuda.Emulator(path)
    device.set(multiprocessors=1)
    for order in orders:
        torch.manual_seed(order)
        device.set(order=order)
        for dtype in WORDS:
            for call in layouts(dtype):
                check(*call)
        for call in itertools.chain(tables(), rows()):
            check(*call)
        gradients()


def main(paths: list[str]) -> int:
    """Run each extension in its own process, because a bug may end it; print its exit status."""
    torch.set_num_threads(1)
    for path in paths:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                run(Path(path), ORDERS if len(paths) == 1 else ORDERS[-1:])
            except Exception as error:
                # A bug may raise any error. The exit status reports it.
                print(f"{type(error).__name__}: {error}"[:300])
                sys.stdout.flush()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"{path}: {os.waitstatus_to_exitcode(status)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
