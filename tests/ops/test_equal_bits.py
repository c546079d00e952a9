"""Every compiled implementation against the definition, bit for bit."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest
import torch
from support.bits import assert_same_bits
from torch import Tensor

import ropescale_kernels as rk
from tools.contract import CALLS, GROUPS, ROWS, Case, Pair, rows_of, table_of, tensors
from tools.contract.draws import DTYPES, yarn

# Position 0, a prime, powers of two less one, the edge of float32's integers, the edges of int64.
POSITIONS = torch.tensor(
    [0, 7919, 2**20 - 1, 2**24 + 1, 2**31 - 1, 2**34, -1, -(2**40) + 3, 2**63 - 1, -(2**63)]
)


def heads(nheads: int, head_dim: int, dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(POSITIONS), nheads, head_dim, generator=generator)
    # Every magnitude of the type, denormals and overflow included, and the special values.
    x[1] *= 2.0 ** torch.randint(-150, 127, x[1].shape, generator=generator)
    x[2] *= 2.0 ** torch.randint(-26, 17, x[2].shape, generator=generator)
    x[3, 0, :3] = torch.tensor([float("nan"), float("inf"), -0.0])[: min(3, head_dim)]
    return x.to(dtype)


def check(
    impl: str, q: Tensor, k: Tensor | None, positions: Tensor, table: rk.RotaryTable, **kw: Any
) -> None:
    """Out of place, into poisoned buffers, and in place."""
    want = rk.apply_rotary_qk(q, k, positions, table, impl="reference", **kw)
    got = rk.apply_rotary_qk(q, k, positions, table, impl=impl, **kw)
    out = tuple(None if x is None else torch.full_like(x, float("nan")) for x in (q, k))
    rk.apply_rotary_qk(q, k, positions, table, impl=impl, out=out, **kw)
    inplace = tuple(None if x is None else x.clone() for x in (q, k))
    rk.apply_rotary_qk_(*inplace, positions, table, impl=impl, **kw)
    for results in (got, out, inplace):
        for x, y in zip(results, want, strict=True):
            assert_same_bits(x, y)


def call(impl: str, case: Case, dtype: torch.dtype, **options: Any) -> Pair:
    return rk.apply_rotary_qk(
        *tensors(case, dtype),
        case.position_ids,
        table_of(case),
        profile_ids=case.profile_ids,
        impl=impl,
        **case.options,
        **options,
    )


@cache
def definition(name: str, dtype: torch.dtype) -> Pair:
    return call("reference", CALLS[name], dtype)


def test_no_two_calls_of_the_contract_have_one_name() -> None:
    assert len(CALLS) == sum(len(group) for group in GROUPS)


# One element type a call, because tests/gpu/test_contract.py has all of them.
@pytest.mark.parametrize(("name", "dtype"), [*zip(CALLS, itertools.cycle(DTYPES), strict=False)])
def test_every_call_of_the_contract(exact_impl: str, name: str, dtype: torch.dtype) -> None:
    want = definition(name, dtype)
    out = tuple(None if x is None else torch.full_like(x, float("nan")) for x in want)
    call(exact_impl, CALLS[name], dtype, out=out)
    assert_same_bits(out, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("phase", ["exact", "float32"])
def test_every_magnitude_and_position(
    exact_impl: str, dtype: torch.dtype, interleaved: bool, phase: str
) -> None:
    q, k = heads(3, 80, dtype, 0), heads(1, 80, dtype, 1)
    table = rk.RotaryTable(yarn(80))
    check(exact_impl, q, k, POSITIONS, table, interleaved=interleaved, phase=phase)


# Pairs one below, at and above the widths of 8, 16 and 32 lanes, and the shapes in use.
PAIRS = [1, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 40, 48, 56, 64]


@pytest.mark.parametrize("num_pairs", PAIRS)
@pytest.mark.parametrize("interleaved", [False, True])
def test_every_width(exact_impl: str, num_pairs: int, interleaved: bool) -> None:
    table = rk.RotaryTable(yarn(2 * num_pairs))
    for dtype, beyond in zip(DTYPES, (0, 1, 6), strict=True):
        q = heads(2, 2 * num_pairs + beyond, dtype, num_pairs)[:4]
        check(exact_impl, q, None, POSITIONS[2:6], table, interleaved=interleaved)


@pytest.mark.parametrize("head_dim", [192, 256, 512])
def test_wide_heads(exact_impl: str, head_dim: int) -> None:
    table = rk.RotaryTable(yarn(head_dim))
    q = heads(1, head_dim, torch.bfloat16, 5)[:2]
    check(exact_impl, q, q.clone(), POSITIONS[:2], table, conjugate=True)


@pytest.mark.parametrize("magnitude", ["both", "query", "none"])
@pytest.mark.parametrize("phase", ["exact", "float32"])
def test_profiles_in_one_batch(exact_impl: str, magnitude: str, phase: str) -> None:
    scalings = [
        yarn(48),
        rk.RopeScaling.default(rotary_dim=48, rope_theta=1e4),
        yarn(48, mscale=0.7, mscale_all_dim=0.3),
    ]
    table = rk.RotaryTable(scalings, magnitude=magnitude)
    ids = torch.tensor([0, 1, 2, 3, -1, 2, 2, 0, 1, 2**31 - 1], dtype=torch.int32)
    q, k = heads(2, 50, torch.float16, 0), heads(1, 50, torch.float16, 1)
    check(exact_impl, q, k, POSITIONS, table, profile_ids=ids, phase=phase)
    rotated = rk.apply_rotary_qk(q, k, POSITIONS, table, profile_ids=ids, impl=exact_impl)[0]
    outside = (ids < 0) | (ids >= 3)
    assert rotated[outside][..., :48].isnan().all()
    assert torch.equal(rotated[outside][..., 48:].nan_to_num(), q[outside][..., 48:].nan_to_num())


@pytest.mark.parametrize("phase", ["exact", "float32"])
def test_the_blend_in_the_kernel_equals_the_static_table(exact_impl: str, phase: str) -> None:
    scalings = [yarn(96), rk.RopeScaling.default(rotary_dim=96, rope_theta=1e4), yarn(96)]
    table = rk.RotaryTable(scalings, dynamic=True)
    lengths = [100_003, 5, 2_000_000]
    table.update_(torch.tensor(lengths))
    static = rk.RotaryTable(
        [
            s.at_seq_len(n) if s.depends_on_seq_len else s
            for s, n in zip(scalings, lengths, strict=True)
        ]
    )
    ids = torch.tensor([0, 1, 2, 0, 2, 1, 0, 2, 2, 0], dtype=torch.int32)
    q = heads(2, 96, torch.float32, 0)
    check(exact_impl, q, None, POSITIONS, table, profile_ids=ids, phase=phase)
    dynamic = rk.apply_rotary_qk(q, None, POSITIONS, table, profile_ids=ids, phase=phase)[0]
    fixed = rk.apply_rotary_qk(q, None, POSITIONS, static, profile_ids=ids, phase=phase)[0]
    assert_same_bits(dynamic, fixed)


@pytest.mark.parametrize("interleaved_axes", [False, True])
@pytest.mark.parametrize("phase", ["exact", "float32"])
def test_axes_of_positions(exact_impl: str, interleaved_axes: bool, phase: str) -> None:
    section = [8, 12, 12] if not interleaved_axes else [12, 10, 10]
    scaling = rk.RopeScaling.default(
        rotary_dim=64, rope_theta=1e6, mrope_section=section, mrope_interleaved=interleaved_axes
    )
    table = rk.RotaryTable(scaling)
    q = heads(2, 64, torch.bfloat16, 0)
    positions = torch.stack([POSITIONS, POSITIONS.flip(0), POSITIONS // 3])
    check(exact_impl, q, None, positions, table, phase=phase)
    check(exact_impl, q, None, POSITIONS, table, phase=phase)
    same = rk.apply_rotary_qk(q, None, POSITIONS.expand(3, -1), table, phase=phase)[0]
    assert_same_bits(same, rk.apply_rotary_qk(q, None, POSITIONS, table, phase=phase)[0])


@pytest.mark.parametrize("name", ROWS)
def test_every_call_with_rows_of_the_caller(exact_impl: str, name: str) -> None:
    for dtype, rows_dtype in zip(DTYPES, DTYPES[1:] + DTYPES[:1], strict=True):
        arguments = (*tensors(Case(), dtype), *rows_of(ROWS[name], rows_dtype))
        want = rk.apply_rotary_cos_sin(*arguments, impl="reference", **ROWS[name].options)
        got = rk.apply_rotary_cos_sin(*arguments, impl=exact_impl, **ROWS[name].options)
        assert_same_bits(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows_dtype", DTYPES)
@pytest.mark.parametrize("doubled", [False, True])
def test_cos_and_sin_of_the_caller(
    exact_impl: str, dtype: torch.dtype, rows_dtype: torch.dtype, doubled: bool
) -> None:
    angle = torch.arange(12.0)[:, None] * 10000.0 ** (-torch.arange(40) / 40)
    angle = torch.cat([angle, angle], -1) if doubled else angle
    cos, sin = angle.cos().to(rows_dtype), angle.sin().to(rows_dtype)
    q, k = heads(2, 80, dtype, 0), heads(1, 80, dtype, 1)
    rows = torch.tensor([0, 3, 11, 12, -1, 2**62, 5, 5, 1, 0])
    flags: dict[str, Any] = {"rotary_dim": 80, "conjugate": True}
    for positions, c, s in ((None, cos[:10], sin[:10]), (rows, cos, sin)):
        want = rk.apply_rotary_cos_sin(q, k, c, s, positions, impl="reference", **flags)
        got = rk.apply_rotary_cos_sin(q, k, c, s, positions, impl=exact_impl, **flags)
        for x, y in zip(got, want, strict=True):
            assert_same_bits(x, y)
    assert got[0][3].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True])
def test_a_nan_of_any_payload_stays_nan(
    exact_impl: str, dtype: torch.dtype, interleaved: bool
) -> None:
    """Rounding the largest payload as a number would carry into the sign: NaN would become -0."""
    payloads = torch.tensor([0x7FFFFFFF, -1, 0x7F800001, 0x7FFF8000], dtype=torch.int32)
    rows = payloads.view(torch.float32)[:, None].expand(4, 32).contiguous()
    got = rk.apply_rotary_cos_sin(
        torch.ones(4, 2, 64, dtype=dtype),
        None,
        rows,
        rows,
        rows="half",
        interleaved=interleaved,
        impl=exact_impl,
    )[0]
    assert got.isnan().all()
