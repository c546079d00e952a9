"""The named calls of the contract, which together reach every line of the CUDA kernels.

    contract_calls.py MODULE...

Compares the emulated kernels of each extension with the CPU kernels, bit for bit. Threads run in
three orders if one extension is given, else in one. Prints "MODULE: 0" for an extension that
passes, else "MODULE: " and the exit status of its process.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from support.bits import WORDS, differing
from torch import Tensor

import ropescale_kernels as rk
from tools import contract, emulated_cuda
from tools.contract import Case, Pair
from tools.contract.draws import draw, yarn

ORDERS = tuple(emulated_cuda.ORDERS.values())
# Not "expanded", because its rows share memory and cannot be written.
LAYOUTS = {
    name: case
    for name, case in (contract.EDGES | contract.STRIDED).items()
    if case.layout != "expanded"
}
TABLES = contract.CASES | contract.COMBINED
Call = tuple[str, Callable[..., Any], Pair, tuple[Any, ...], dict[str, Any]]


def rotations(cases: dict[str, Case], dtype: torch.dtype) -> Iterator[Call]:
    """Yield the named calls of apply_rotary_qk."""
    for name, case in cases.items():
        rest = (case.position_ids, contract.table_of(case))
        options = case.options | {"profile_ids": case.profile_ids}
        yield name, rk.apply_rotary_qk, contract.tensors(case, dtype), rest, options


def rows() -> Iterator[Call]:
    """Yield the named calls with the caller's cosines and sines."""
    for (name, case), dtype, kind in itertools.product(contract.ROWS.items(), WORDS, WORDS):
        pair = contract.tensors(Case(heads=(5, 2)), dtype)
        yield name, rk.apply_rotary_cos_sin, pair, contract.rows_of(case, kind), case.options


def guarded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a buffer of canaries and a poisoned output inside it, aligned like a fresh tensor."""
    memory = torch.full((x.numel() + 32,), 7.0, dtype=x.dtype)
    out = memory[16:-16].view(x.shape)
    out.fill_(float("nan"))
    return memory, out


def check(
    name: str, apply: Callable[..., Any], pair: Pair, rest: tuple[Any, ...], options: dict[str, Any]
) -> None:
    q, k = pair
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
            q, k = draw(3, 5, 2, 64), draw(3, 5, 1, 64, seed=1)
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
            for call in rotations(LAYOUTS, dtype):
                check(*call)
        for call in itertools.chain(rotations(TABLES, torch.float32), rows()):
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
