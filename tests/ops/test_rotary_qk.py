"""apply_rotary_qk and its in-place twin over layouts, shapes of positions and special values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import ropescale_kernels as rk
from tools.contract import BATCH, POSITIONS, SEQLEN, STRIDED, tensors
from tools.contract.draws import DTYPES, draw, yarn

SameBits = Callable[..., None]


def table_of(rotary_dim: int, **options: Any) -> rk.RotaryTable:
    return rk.RotaryTable(yarn(rotary_dim), **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STRIDED)
def test_a_strided_view_gives_the_bits_of_its_copy(
    impl: str, name: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    q, k = tensors(STRIDED[name], dtype)
    positions = STRIDED[name].position_ids
    copies = q.contiguous(), None if k is None else k.contiguous()
    want = rk.apply_rotary_qk(*copies, positions, table_of(40), impl=impl)
    got = rk.apply_rotary_qk(q, k, positions, table_of(40), impl=impl)
    same_bits(got, want)
    if STRIDED[name].layout != "expanded":
        assert got[0].stride() == torch.empty_like(q).stride()
        rk.apply_rotary_qk_(q, k, positions, table_of(40), impl=impl)
        same_bits((q, k), want)


@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.parametrize("interleaved", [False, True])
def test_every_layout_has_the_bits_of_the_definition(
    exact_impl: str, name: str, interleaved: bool, same_bits: SameBits
) -> None:
    for dtype in DTYPES:
        q, k = tensors(STRIDED[name], dtype)
        positions = STRIDED[name].position_ids
        call = (q, k, positions, table_of(46))
        flags: dict[str, Any] = {"interleaved": interleaved, "conjugate": dtype == torch.float16}
        want = rk.apply_rotary_qk(*call, impl="reference", **flags)
        same_bits(rk.apply_rotary_qk(*call, impl=exact_impl, **flags), want)


@pytest.mark.parametrize("head_dim", [2, 46, 64, 80, 96, 112, 128])
@pytest.mark.parametrize("interleaved", [False, True])
def test_every_head_dim_whole_and_partial(
    exact_impl: str, head_dim: int, interleaved: bool, same_bits: SameBits
) -> None:
    for rotary_dim in {head_dim, max(2, head_dim // 4 * 2), 2}:
        for dtype in DTYPES:
            q, k = draw(3, 3, head_dim, dtype=dtype), draw(3, 1, head_dim, dtype=dtype, seed=1)
            call = (q, k, POSITIONS[1], table_of(rotary_dim))
            want = rk.apply_rotary_qk(*call, impl="reference", interleaved=interleaved)
            got = rk.apply_rotary_qk(*call, impl=exact_impl, interleaved=interleaved)
            same_bits(got, want)


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("phase", ["exact", "float32"])
def test_every_shape_of_positions(
    impl: str, index_dtype: torch.dtype, phase: str, same_bits: SameBits
) -> None:
    q, k, table = draw(BATCH, SEQLEN, 3, 64), draw(BATCH, SEQLEN, 1, 64, seed=1), table_of(64)
    row = POSITIONS[0].to(index_dtype)
    wide = torch.full((BATCH, SEQLEN, 5), 12345, dtype=index_dtype)
    wide[..., 3] = row
    forms = [row, row[None], row.expand(BATCH, SEQLEN), wide[..., 3], wide[0, :, 3]]
    # Each token in a call of its own: no shape of positions, nothing to mix up.
    alone = [
        rk.apply_rotary_qk(x, y, row[t, None], table, phase=phase, impl=impl)
        for b in range(BATCH)
        for t in range(SEQLEN)
        for x, y in [(q[b, t, None], k[b, t, None])]
    ]
    want = tuple(torch.cat(x).view(BATCH, SEQLEN, -1, 64) for x in zip(*alone, strict=True))
    for positions in forms:
        same_bits(rk.apply_rotary_qk(q, k, positions, table, phase=phase, impl=impl), want)


def test_a_profile_of_each_sequence_is_that_of_its_tokens(impl: str, same_bits: SameBits) -> None:
    scalings = [
        yarn(64),
        rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4),
    ]
    table = rk.RotaryTable(scalings)
    q, k = draw(BATCH, SEQLEN, 2, 64), draw(BATCH, SEQLEN, 1, 64)
    ids = torch.tensor([1, 0], dtype=torch.int32)
    per_token = ids[:, None].expand(BATCH, SEQLEN)
    got = rk.apply_rotary_qk(q, k, POSITIONS, table, profile_ids=ids, impl=impl)
    same_bits(got, rk.apply_rotary_qk(q, k, POSITIONS, table, profile_ids=per_token, impl=impl))
    assert got[1] is not None
    for b, scaling in enumerate(reversed(scalings)):
        one = rk.RotaryTable(scaling)
        want = rk.apply_rotary_qk(q[b : b + 1], k[b : b + 1], POSITIONS[b], one, impl=impl)
        same_bits((got[0][b : b + 1], got[1][b : b + 1]), want)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_profiles_take_the_shapes_of_positions(impl: str, same_bits: SameBits, batch: int) -> None:
    table = rk.RotaryTable([yarn(64), rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4)])
    q, k, at = draw(batch, SEQLEN, 2, 64), draw(batch, SEQLEN, 1, 64), torch.arange(SEQLEN) * 1009
    ids = torch.arange(SEQLEN, dtype=torch.int32) % 2
    whole = ids.expand(batch, SEQLEN).contiguous()
    want = rk.apply_rotary_qk(q, k, at, table, profile_ids=whole, impl=impl)
    for given in (ids, ids[None]):
        same_bits(rk.apply_rotary_qk(q, k, at, table, profile_ids=given, impl=impl), want)
    other = rk.apply_rotary_qk(q, k, at, table, profile_ids=1 - ids, impl=impl)[0]
    assert not torch.equal(other, want[0])


def test_profiles_of_as_many_sequences_as_tokens_are_by_sequence(
    impl: str, same_bits: SameBits
) -> None:
    table = rk.RotaryTable([yarn(64), rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4)])
    q, at = draw(3, 3, 2, 64), torch.arange(3) * 1009
    ids = torch.tensor([0, 1, 0], dtype=torch.int32)
    got, by_row = (
        rk.apply_rotary_qk(q, None, at, table, profile_ids=x, impl=impl) for x in (ids, ids[None])
    )
    per_token = ids[:, None].expand(3, 3)
    same_bits(got, rk.apply_rotary_qk(q, None, at, table, profile_ids=per_token, impl=impl))
    assert not torch.equal(got[0], by_row[0])


@pytest.mark.parametrize("shape", [(0, 3, 64), (2, 0, 3, 64), (0, 4, 3, 64), (3, 0, 64)])
def test_empty_input_gives_empty_output(impl: str, shape: tuple[int, ...]) -> None:
    q = torch.empty(shape)
    positions = torch.arange(math.prod(shape[:-2])).view(shape[:-2])
    q_out, k_out = rk.apply_rotary_qk(q, q.clone(), positions, table_of(64), impl=impl)
    assert q_out.shape == shape
    assert k_out is not None
    assert k_out.shape == shape
    assert q_out is not q
    rk.apply_rotary_qk_(q, None, positions, table_of(64), impl=impl)


def test_no_heads_in_q_still_rotates_k(impl: str, same_bits: SameBits) -> None:
    k = draw(3, 2, 64)
    want = rk.apply_rotary_qk(k, None, POSITIONS[0], table_of(64), impl=impl)[0]
    same_bits(rk.apply_rotary_qk(k[:, :0], k, POSITIONS[0], table_of(64), impl=impl)[1], want)


def test_special_values(impl: str) -> None:
    table = rk.RotaryTable.from_inv_freq(torch.zeros(2), attention_factor=4.0)
    largest = torch.tensor([65504.0, 1.0, -65504.0, 2.0], dtype=torch.float16)
    got = rk.apply_rotary_qk(largest[None, None], None, torch.tensor([5]), table, impl=impl)[0]
    assert got.flatten().tolist() == [math.inf, 4.0, -math.inf, 8.0]
    for dtype in DTYPES:
        x = torch.tensor([math.nan, 1.0, 2.0, 3.0], dtype=dtype)
        out = rk.apply_rotary_qk(x[None, None], None, torch.tensor([5]), table, impl=impl)[0]
        # The pair (0, 2) holds the NaN; the pair (1, 3) never sees it.
        assert out.isnan().flatten().tolist() == [True, False, True, False]
        smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        tiny = torch.tensor([smallest, 0.0, -smallest, 0.0], dtype=dtype)
        out = rk.apply_rotary_qk(tiny[None, None], None, torch.tensor([5]), table, impl=impl)[0]
        assert out.flatten().double().tolist() == [4 * smallest, 0.0, -4 * smallest, 0.0]


def test_channels_beyond_are_copied_for_each_of_q_and_k(impl: str) -> None:
    """Whatever the other is: rotated in place, or without heads."""
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4))
    at = torch.arange(5)
    q, k = torch.randn(5, 3, 24), torch.randn(5, 2, 24)
    want = rk.apply_rotary_qk(q, k, at, table, impl=impl)
    assert want[1] is not None
    for mine, fresh in ((0, 1), (1, 0)):
        out = [q.clone(), k.clone()]
        inputs = list(out)
        out[fresh] = torch.full_like(out[fresh], float("nan"))
        rk.apply_rotary_qk(*inputs, at, table, impl=impl, out=(out[0], out[1]))
        for x, y in zip(out, want, strict=True):
            assert torch.equal(x, y)
        assert out[mine] is inputs[mine]
    out = [q[:, :0].clone(), torch.full_like(k, float("nan"))]
    rk.apply_rotary_qk(q[:, :0], k, at, table, impl=impl, out=(out[0], out[1]))
    assert torch.equal(out[1], want[1])
    leaf = k.clone().requires_grad_()
    rotated = rk.apply_rotary_qk(q, leaf, at, table, impl=impl)[1]
    assert rotated is not None
    (grad,) = torch.autograd.grad(rotated.sum(), leaf)
    assert torch.equal(grad[..., 16:], torch.ones(5, 2, 8))
