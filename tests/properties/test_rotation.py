"""What must hold of every implementation, whatever its arithmetic; and hypothesis over layouts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels import bounds, reference
from tools.contract.draws import DTYPES, draw, yarn


def table_of(rotary_dim: int, **options: Any) -> rk.RotaryTable:
    return rk.RotaryTable(yarn(rotary_dim), **options)


def assert_within_bounds(
    got: Tensor, q: Tensor, truth: Tensor, factor: float, pairs: int, interleaved: bool
) -> None:
    def split(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x[..., : 2 * pairs].double()
        return (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., :pairs], x[..., pairs:])

    x0, x1 = split(q)
    for y, want in zip(split(got), split(truth), strict=True):
        allowed = bounds.rotation_bound(x0, x1, factor, got.dtype, exact=want)
        assert ((y - want).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True])
def test_error_is_within_the_bounds_table(impl: str, dtype: torch.dtype, interleaved: bool) -> None:
    q = draw(40, 2, 128, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    positions = torch.randint(-(2**34), 2**34, (40,), generator=generator)
    table = table_of(128)
    got = rk.apply_rotary_qk(q, None, positions, table, interleaved=interleaved, impl=impl)[0]
    truth = reference.apply_rotary_qk(q, None, positions, table, interleaved=interleaved)[0]
    factor = table.scalings[0].attention_factor
    assert_within_bounds(got, q, truth, factor, 64, interleaved)


def test_the_norm_is_scaled_exactly_once(impl: str) -> None:
    q, table = draw(50, 3, 64), table_of(64)
    got = rk.apply_rotary_qk(q, None, torch.arange(50) * 7919, table, impl=impl)[0]
    want = q.double().norm(dim=-1) * table.scalings[0].attention_factor
    torch.testing.assert_close(got.double().norm(dim=-1), want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_position_zero_with_factor_one_is_the_identity(impl: str, dtype: torch.dtype) -> None:
    scaling = rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4)
    q = draw(9, 2, 80, dtype=dtype) * 1e-3
    got = rk.apply_rotary_qk(
        q, None, torch.zeros(9, dtype=torch.int64), rk.RotaryTable(scaling), impl=impl
    )[0]
    assert torch.equal(got, q)


def test_the_conjugate_undoes_the_rotation(impl: str) -> None:
    q, positions = draw(30, 2, 64), torch.arange(30) * 104729
    table = table_of(64, magnitude="none")
    there = rk.apply_rotary_qk(q, None, positions, table, impl=impl)[0]
    back = rk.apply_rotary_qk(there, None, positions, table, conjugate=True, impl=impl)[0]
    minus = rk.apply_rotary_qk(there, None, -positions, table, impl=impl)[0]
    size = q.abs()[..., :32] + q.abs()[..., 32:]
    # Two rotations, the second of values that are at most sqrt(2) larger.
    allowed = torch.cat([size, size], -1) * 3 * bounds.ROTATION_REL
    assert ((back - q).abs() <= allowed).all()
    assert ((minus - q).abs() <= allowed).all()


@pytest.mark.parametrize("shift", [1, 2**20 - 1, 2**31 + 11, 2**33])
def test_logits_depend_on_the_distance_only(impl: str, shift: int) -> None:
    q, k, table = draw(1, 1, 64), draw(1, 1, 64, seed=1), table_of(64)

    def logit(m: int, n: int) -> float:
        rotated_q = rk.apply_rotary_qk(q, None, torch.tensor([m]), table, impl=impl)[0]
        rotated_k = rk.apply_rotary_qk(k, None, torch.tensor([n]), table, impl=impl)[0]
        return float((rotated_q.double() * rotated_k.double()).sum())

    size = float(q.norm() * k.norm()) * table.scalings[0].attention_factor ** 2
    assert abs(logit(5000 + shift, shift) - logit(5000, 0)) <= 8 * bounds.ROTATION_REL * size


@pytest.mark.parametrize("dtype", DTYPES)
def test_interleaved_is_halves_permuted(impl: str, dtype: torch.dtype) -> None:
    q, positions, table = draw(20, 2, 70, dtype=dtype), torch.arange(20) * 613, table_of(64)
    order = torch.cat([torch.arange(64).view(2, 32).T.flatten(), torch.arange(64, 70)])
    half = rk.apply_rotary_qk(q, None, positions, table, impl=impl)[0]
    mixed = q[..., order].contiguous()
    pairs = rk.apply_rotary_qk(mixed, None, positions, table, interleaved=True, impl=impl)[0]
    assert torch.equal(pairs, half[..., order])


def test_a_row_does_not_depend_on_the_rest_of_the_batch(impl: str) -> None:
    q, positions, table = draw(37, 3, 64), torch.arange(37) * 31, table_of(64)
    whole = rk.apply_rotary_qk(q, None, positions, table, impl=impl)[0]
    for i in (0, 15, 16, 36):
        alone = rk.apply_rotary_qk(q[i : i + 1], None, positions[i : i + 1], table, impl=impl)[0]
        assert torch.equal(whole[i], alone[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_beyond_are_copied_as_raw_words(impl: str, dtype: torch.dtype) -> None:
    words = torch.int32 if dtype == torch.float32 else torch.int16
    q = torch.randint(-(2**15), 2**15, (6, 2, 90), dtype=words).view(dtype)
    q[..., :64] = 1.0
    got = rk.apply_rotary_qk(q, None, torch.arange(6), table_of(64), impl=impl)[0]
    assert torch.equal(got.view(words)[..., 64:], q.view(words)[..., 64:])


@pytest.mark.parametrize("k_heads", [None, 1, 3])
def test_the_gradient_is_the_adjoint_bit_for_bit(k_heads: int | None) -> None:
    q, positions, table = draw(2, 5, 4, 64), torch.arange(5) * 10007, table_of(64)
    k = None if k_heads is None else draw(2, 5, k_heads, 64, seed=1)
    inputs = [x.requires_grad_() for x in (q, k) if x is not None]
    outputs = [x for x in rk.apply_rotary_qk(q, k, positions, table) if x is not None]
    upstream = [draw(*x.shape, seed=7) for x in outputs]
    grads = torch.autograd.grad(outputs, inputs, upstream)
    with torch.no_grad():
        padded = [*upstream, None][:2]
        want = rk.apply_rotary_qk(*padded, positions, table, conjugate=True)
        for got, adjoint in zip(grads, want, strict=False):
            assert adjoint is not None
            assert torch.equal(got, adjoint)
        inner = sum(
            float((x.double() * y.double()).sum()) for x, y in zip(outputs, upstream, strict=True)
        )
        outer = sum(
            float((x.double() * y.double()).sum()) for x, y in zip(inputs, grads, strict=True)
        )
    assert math.isclose(inner, outer, rel_tol=1e-5, abs_tol=1e-4)


LAYOUT = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 2),
        "seqlen": st.integers(1, 4),
        "nheads": st.integers(1, 3),
        "nheads_k": st.integers(0, 2),
        "pairs": st.integers(1, 36),
        "beyond": st.integers(0, 5),
        "gap": st.integers(0, 3),
        "offset": st.integers(0, 9),
        "heads_first": st.booleans(),
        "dtype": st.sampled_from(DTYPES),
        "interleaved": st.booleans(),
        "conjugate": st.booleans(),
        "phase": st.sampled_from(["exact", "float32"]),
        "seed": st.integers(0, 2**16),
    }
)


class Guarded:
    """A strided view inside a larger buffer whose every other element is a canary."""

    def __init__(self, shape: tuple[int, ...], case: dict[str, Any]) -> None:
        batch, seqlen, nheads, head_dim = shape
        width = head_dim + case["gap"]
        size = batch * seqlen * nheads * width
        self.buffer = torch.full((size + 2 * case["offset"] + 8,), 77.0, dtype=case["dtype"])
        strides = (
            (nheads * seqlen * width, width, seqlen * width, 1)
            if case["heads_first"]
            else (seqlen * nheads * width, nheads * width, width, 1)
        )
        self.view = self.buffer.as_strided(shape, strides, case["offset"])

    def canaries_alive(self) -> bool:
        inside = torch.zeros(len(self.buffer), dtype=torch.bool)
        inside.as_strided(self.view.shape, self.view.stride(), self.view.storage_offset())[:] = True
        return bool((self.buffer[~inside] == 77.0).all())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=LAYOUT,
    positions=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4),
)
def test_any_layout_any_position(case: dict[str, Any], positions: list[int]) -> None:
    """In place and out, between canaries, into poison: the definition's bits and nothing else."""
    generator = torch.Generator().manual_seed(case["seed"])
    shape = (case["batch"], case["seqlen"], case["nheads"], 2 * case["pairs"] + case["beyond"])
    shape_k = (*shape[:2], case["nheads_k"], shape[3])
    table = table_of(2 * case["pairs"])
    at = torch.tensor(positions[: case["seqlen"]])
    flags = {name: case[name] for name in ("interleaved", "conjugate", "phase")}
    inputs = [Guarded(shape, case), Guarded(shape_k, case) if case["nheads_k"] else None]
    outputs = [Guarded(shape, case), Guarded(shape_k, case) if case["nheads_k"] else None]
    for x, out in zip(inputs, outputs, strict=True):
        if x is not None and out is not None:
            x.view.copy_(torch.randn(x.view.shape, generator=generator))
            out.view.fill_(math.nan)
    q, k = (x and x.view for x in inputs)
    want = reference.apply_rotary_qk(q, k, at, table, precision="bits", **flags)
    rk.apply_rotary_qk(
        q, k, at, table, impl="cpu", out=tuple(x and x.view for x in outputs), **flags
    )
    fresh = rk.apply_rotary_qk(q, k, at, table, **flags)
    rk.apply_rotary_qk_(q, k, at, table, **flags)
    for x, out, new, y in zip(inputs, outputs, fresh, want, strict=True):
        if x is None or out is None:
            continue
        for got in (x.view, out.view, new):
            assert torch.equal(got, y)
        assert x.canaries_alive()
        assert out.canaries_alive()
