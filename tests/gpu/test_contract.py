"""Every option on the device against the definition, computed on the CPU.

What is compiled has the bits of the definition; impl="torch" is within twice the bound of both.
Tests with the mark "sanitizer" are run under compute-sanitizer too (bench/gpu.sh).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

import ropescale_kernels as rk
from tools.contract import (
    CASES,
    CODE,
    POSITIONS,
    ROWS,
    Case,
    Pair,
    call,
    rows_of,
    table_of,
    tensors,
)
from tools.contract.draws import DTYPES, draw, yarn

SameBits = Callable[..., None]
# Run under compute-sanitizer: elements, odd addresses, copied channels, and every source.
SANITIZED = {*CODE, "odd sizes", "partial", "partial, interleaved", "tokens", "packed qkv"}
SANITIZED |= {"M-RoPE", "dynamic", "profiles out of range"}
# Rows of neighbours and strided ones, with and without indices and axes.
SANITIZED |= {"by token", "by index", "real parts", "real parts, interleaved"}
SANITIZED |= {"repeated in every third value, by index", "axes", "axes in turns, repeated"}


def names(chosen: Iterable[str]) -> list[Any]:
    """Parametrise over cases, with the mark of those that the sanitizer runs."""
    marks = {True: [pytest.mark.sanitizer], False: []}
    return [pytest.param(name, marks=marks[name in SANITIZED]) for name in chosen]


def check(impl: str, got: Pair, want: Pair, same_bits: SameBits, scale: float = 1.3) -> None:
    """Compare with the definition; `scale` is at least the magnitude squared."""
    on_host = tuple(None if x is None else x.cpu() for x in got)
    if impl != "torch":
        same_bits(on_host, want)
        return
    for x, y in zip(on_host, want, strict=True):
        if x is None or y is None:
            assert x is y
            continue
        assert torch.equal(x.isnan(), y.isnan())
        largest = y.nan_to_num().abs().max().double() if y.numel() else torch.zeros(())
        bound = rk.bounds.rotation_bound(largest, largest, scale, y.dtype)
        assert ((x - y).nan_to_num().abs().double() <= 2 * bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", names(CASES))
def test_out_of_place(
    gpu_impl: str, device: torch.device, name: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    case = CASES[name]
    want = call(case, dtype, torch.device("cpu"), "reference")
    got = call(case, dtype, device, gpu_impl)
    q, _ = tensors(case, dtype, device)
    assert got[0].device.type == device.type
    assert got[0].stride() == torch.empty_like(q).stride()
    check(gpu_impl, got, want, same_bits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", names(CASES))
def test_in_place_has_the_same_bits(
    gpu_impl: str, device: torch.device, name: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    case = CASES[name]
    want = call(case, dtype, device, gpu_impl)
    same_bits(call(case, dtype, device, gpu_impl, apply=rk.apply_rotary_qk_), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "odd sizes", "partial", "MLA", "interleaved"])
def test_every_element_is_written_and_nothing_beside(
    gpu_impl: str, device: torch.device, name: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    case, margin = CASES[name], 64
    want = call(case, dtype, device, gpu_impl)
    buffers = []
    for x in want:
        assert x is not None
        flat = torch.full((x.numel() + 2 * margin,), 7.0, dtype=dtype, device=device)
        flat[margin:-margin] = float("nan")
        buffers.append(flat)
    out = tuple(b[margin:-margin].view(x.shape) for b, x in zip(buffers, want, strict=True))
    same_bits(call(case, dtype, device, gpu_impl, out=out), want)
    for flat in buffers:
        assert (flat[:margin] == 7).all()
        assert (flat[-margin:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", names(ROWS))
def test_cos_and_sin_of_the_callers(
    gpu_impl: str, device: torch.device, dtype: torch.dtype, name: str, same_bits: SameBits
) -> None:
    results = []
    for impl, where in (("reference", torch.device("cpu")), (gpu_impl, device)):
        arguments = (*tensors(Case(), dtype, where), *rows_of(ROWS[name], torch.float32, where))
        results.append(rk.apply_rotary_cos_sin(*arguments, impl=impl, **ROWS[name].options))
    check(gpu_impl, results[1], results[0], same_bits)
    assert bool(results[0][0].isnan().any()) == ("by index" in name)


@pytest.mark.parametrize(
    "name", names(["plain", "partial", "q alone", "interleaved", "magnitude query"])
)
def test_gradients_are_the_conjugate_rotation(
    gpu_impl: str, device: torch.device, name: str, same_bits: SameBits
) -> None:
    case = CASES[name]
    q, k = tensors(case, torch.float32, device)
    leaves = [x.detach().clone().requires_grad_() for x in (q, k) if x is not None]
    pair = (leaves[0], leaves[1] if k is not None else None)
    outputs = [
        x for x in call(case, torch.float32, device, gpu_impl, tensors=pair) if x is not None
    ]
    upstream = [draw(*x.shape, dtype=torch.float32).to(device) for x in outputs]
    got = torch.autograd.grad(outputs, leaves, upstream)
    given = (upstream[0], upstream[1] if k is not None else None)
    want = call(case, torch.float32, device, gpu_impl, tensors=given, conjugate=True)
    same_bits(got, tuple(x for x in want if x is not None))


def test_a_dynamic_table_is_the_static_one_at_its_length(
    gpu_impl: str, device: torch.device, same_bits: SameBits
) -> None:
    q, k = tensors(Case(), torch.float32, device)
    dynamic = table_of(Case(table="dynamic"), device)
    scaling = yarn(64).at_seq_len(100_000)
    static = rk.RotaryTable(scaling, device=device)
    at = POSITIONS.to(device)
    same_bits(
        rk.apply_rotary_qk(q, k, at, dynamic, impl=gpu_impl),
        rk.apply_rotary_qk(q, k, at, static, impl=gpu_impl),
    )
