"""apply_rotary_cos_sin: the same rotation, from rows of cos and sin that the caller holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from tools.contract.draws import DTYPES, draw, yarn

SameBits = Callable[..., None]


def rows_of(count: int, num_pairs: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    angle = torch.arange(1, count + 1)[:, None] * 1e4 ** (-torch.arange(num_pairs) / num_pairs)
    return angle.cos().to(dtype), angle.sin().to(dtype)


@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
def test_rows_read_off_the_table_give_the_table_s_bits(
    impl: str, interleaved: bool, conjugate: bool, same_bits: SameBits
) -> None:
    """Rotating (1, 0) yields (cos, sin) times the factor, as the kernel itself multiplies by."""
    scaling = yarn(64)
    table, positions = rk.RotaryTable(scaling), torch.arange(9) * 104729 - 7
    unit = torch.cat([torch.ones(9, 1, 32), torch.zeros(9, 1, 32)], -1)
    rows = rk.apply_rotary_qk(unit, None, positions, table, impl=impl)[0][:, 0]
    cos, sin = rows.chunk(2, -1)
    flags: dict[str, Any] = {"interleaved": interleaved, "conjugate": conjugate, "impl": impl}
    for dtype in DTYPES:
        q, k = draw(9, 3, 70, dtype=dtype), draw(9, 1, 70, dtype=dtype, seed=1)
        want = rk.apply_rotary_qk(q, k, positions, table, **flags)
        same_bits(rk.apply_rotary_cos_sin(q, k, cos, sin, rotary_dim=64, **flags), want)


def test_every_shape_and_stride_of_rows(impl: str, same_bits: SameBits) -> None:
    q, k = draw(2, 5, 3, 48), draw(2, 5, 1, 48, seed=1)
    cos, sin = rows_of(5, 24)
    want = rk.apply_rotary_cos_sin(
        q, k, cos.repeat(2, 1, 1), sin.repeat(2, 1, 1), impl=impl, rotary_dim=48
    )
    padded = [torch.cat([x, torch.full((5, 7), math.nan)], -1)[:, :24] for x in (cos, sin)]
    forms: list[tuple[Any, Any]] = [
        (cos, sin),
        (cos[None], sin[None]),
        (cos.expand(2, 5, 24), sin.expand(2, 5, 24)),
        (padded[0], padded[1]),
        (torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)),
    ]
    for c, s in forms:
        same_bits(rk.apply_rotary_cos_sin(q, k, c, s, impl=impl, rotary_dim=48), want)
    wide = torch.stack([cos, sin], 1)
    same_bits(rk.apply_rotary_cos_sin(q, k, wide[:, 0], wide[:, 1], impl=impl, rotary_dim=48), want)


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_indexed_rows_are_the_rows(
    impl: str, index_dtype: torch.dtype, same_bits: SameBits
) -> None:
    q, (cos, sin) = draw(2, 4, 3, 48), rows_of(6, 24, torch.bfloat16)
    index = torch.tensor([[5, 0, 3, 3], [1, 1, 2, 4]], dtype=index_dtype)
    flags: dict[str, Any] = {"rows": "half", "impl": impl}
    got = rk.apply_rotary_cos_sin(q, None, cos, sin, index, **flags)[0]
    same_bits(got, rk.apply_rotary_cos_sin(q, None, cos[index], sin[index], **flags)[0])
    one_row = rk.apply_rotary_cos_sin(q, None, cos, sin, index[0], **flags)[0]
    same_bits(one_row[0], got[0])


def test_an_index_out_of_range_poisons_its_token_alone(impl: str, same_bits: SameBits) -> None:
    q, (cos, sin) = draw(5, 3, 50), rows_of(4, 24)
    index = torch.tensor([0, 4, 2, -1, -(2**63)])
    got = rk.apply_rotary_cos_sin(q, None, cos, sin, index, impl=impl, rotary_dim=48)[0]
    assert got[[1, 3, 4], :, :48].isnan().all()
    same_bits(got[..., 48:], q[..., 48:])
    inside = torch.tensor([0, 2])
    want = rk.apply_rotary_cos_sin(q[inside], None, cos, sin, inside, impl=impl, rotary_dim=48)[0]
    same_bits(got[inside], want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_is_written_whole_and_may_be_the_input(
    exact_impl: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    q, k = draw(5, 3, 80, dtype=dtype), draw(5, 1, 80, dtype=dtype, seed=1)
    rows = rows_of(5, 33)
    want = rk.apply_rotary_cos_sin(q, k, *rows, impl="reference", rotary_dim=66)
    out = torch.full_like(q, math.nan), torch.full_like(k, math.nan)
    rk.apply_rotary_cos_sin(q, k, *rows, impl=exact_impl, rotary_dim=66, out=out)
    same_bits(out, want)
    rk.apply_rotary_cos_sin(q, k, *rows, impl=exact_impl, rotary_dim=66, out=(q, k))
    same_bits((q, k), want)


def test_empty_input_gives_empty_output(impl: str) -> None:
    cos, sin = rows_of(4, 24)
    q = torch.empty(0, 3, 48)
    index = torch.empty(0, dtype=torch.int64)
    flags: dict[str, Any] = {"rows": "half", "impl": impl}
    assert rk.apply_rotary_cos_sin(q, None, cos, sin, index, **flags)[0].shape == q.shape
    assert rk.apply_rotary_cos_sin(q, None, cos[:0], sin[:0], **flags)[0].shape == q.shape
    # No rows at all: every index is out of range.
    q = draw(2, 3, 48)
    lost = rk.apply_rotary_cos_sin(q, None, cos[:0], sin[:0], torch.tensor([0, 1]), **flags)[0]
    assert lost.isnan().all()
