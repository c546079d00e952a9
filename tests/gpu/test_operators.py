"""Compiled kernels, gradients and operators where there is a device."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from tools.contract.draws import DTYPES, draw, yarn

SCALING = yarn(64)


def gradients(
    impl: str, device: str | torch.device, dtype: torch.dtype, interleaved: bool
) -> list[Tensor]:
    inv_freq = SCALING.inv_freq.to(device).requires_grad_()
    factor = torch.tensor(1.2, device=device, requires_grad=True)
    table = rk.RotaryTable.from_inv_freq(inv_freq, factor)
    q, k = (draw(2, 60, n, 96, seed=n).to(device, dtype).requires_grad_() for n in (8, 2))
    at = torch.arange(60, device=device) * 101
    outputs = rk.apply_rotary_qk(q, k, at, table, impl=impl, interleaved=interleaved)
    upstream = [draw(*x.shape, seed=7).to(device, dtype) for x in outputs if x is not None]
    return list(torch.autograd.grad(list(outputs), [q, k, inv_freq, factor], upstream))  # type: ignore[arg-type]


@pytest.mark.sanitizer
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_a_scaling_are_those_of_the_cpu_and_repeat(
    fused_impl: str, device: torch.device, dtype: torch.dtype, interleaved: bool
) -> None:
    got, again = (gradients(fused_impl, device, dtype, interleaved) for _ in range(2))
    want = gradients("cpu", "cpu", dtype, interleaved)
    for x, y, z in zip(got, again, want, strict=True):
        assert torch.equal(x, y)
        torch.testing.assert_close(x.cpu(), z, rtol=2**-23, atol=0)
    assert torch.equal(got[0].cpu(), want[0])
    assert torch.equal(got[1].cpu(), want[1])


@pytest.mark.skipif(
    rk.available_impls()["triton"] is not None or not torch.cuda.is_available(),
    reason="no Triton on a device",
)
def test_after_warmup_no_shape_compiles_anything() -> None:
    triton = pytest.importorskip("triton")
    compiled: list[Any] = []
    triton.knobs.compilation.listener = lambda **seen: compiled.append(seen["src"])
    try:
        table = rk.RotaryTable(SCALING, device="cuda")
        assert rk.warmup(table, head_dim=96, impl="triton") == 8
        assert compiled
        before, pick = len(compiled), random.Random(0)
        for _ in range(200):
            tokens, nheads, k_heads = pick.randint(1, 2000), pick.randint(1, 40), pick.randint(0, 8)
            q = torch.ones(tokens, nheads, 96, dtype=torch.bfloat16, device="cuda")
            k = torch.ones(tokens, k_heads, 96 + pick.choice([0, 1, 8]), device="cuda").bfloat16()
            index = pick.choice([torch.int32, torch.int64])
            at = torch.arange(tokens, dtype=index, device="cuda")
            rk.apply_rotary_qk(q, k[..., :96] if k_heads else None, at, table, impl="triton")
        assert len(compiled) == before
    finally:
        triton.knobs.compilation.listener = None


def test_compiled_code_is_one_graph_with_equal_bits(gpu_impl: str, device: torch.device) -> None:
    table = rk.RotaryTable(SCALING, device=device)
    at = torch.arange(5, device=device)

    def block(q: Tensor, k: Tensor) -> Any:
        q, k = q * 2, k + 1
        rk.apply_rotary_qk_(q, k, at, table, impl=gpu_impl)
        return rk.apply_rotary_qk(q, k, at, table, impl=gpu_impl)

    q, k = draw(5, 4, 64).to(device), draw(5, 2, 64, seed=1).to(device)
    torch._dynamo.reset()
    for x, y in zip(torch.compile(block, fullgraph=True)(q, k), block(q, k), strict=True):
        assert torch.equal(x, y)
