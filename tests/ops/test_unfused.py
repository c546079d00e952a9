"""The unfused baseline is Transformers' own sequence of operations, and close to the reference."""

from __future__ import annotations

import math

import pytest
import torch
from transformers.models.cohere.modeling_cohere import rotate_half as rotate_pairs
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as llama_rotary

from ropescale_kernels import reference, unfused
from ropescale_kernels.reference import blend_inv_freq_bits
from tools.contract.draws import DTYPES, draw

HEAD_DIM = 16
BATCH, SEQLEN = 2, 5
FACTOR = 1.13862944
U = 2.0**-24
# Half a unit in the last place, relative to the value.
HALF_ULP = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


def inverse_frequencies(rotary_dim: int = HEAD_DIM) -> torch.Tensor:
    return 1.0 / (10000.0 ** (torch.arange(0, rotary_dim, 2).float() / rotary_dim))


def heads(nheads: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return draw(BATCH, SEQLEN, nheads, HEAD_DIM, dtype=dtype, seed=seed)


def positions() -> torch.Tensor:
    return torch.tensor([[0, 1, 2, 3, 17], [5, 40, 41, 1, 63]])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cos_sin_are_transformers_bits(dtype: torch.dtype) -> None:
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, head_dim=HEAD_DIM)
    rotary = LlamaRotaryEmbedding(config)
    rotary.attention_scaling = FACTOR
    want = rotary(torch.empty(1, dtype=dtype), positions())
    got = unfused.cos_sin(rotary.inv_freq, positions(), dtype, FACTOR)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rotate_is_transformers_bits(dtype: torch.dtype) -> None:
    q, k = heads(3, dtype, 1), heads(1, dtype, 2)
    cos, sin = unfused.cos_sin(inverse_frequencies(), positions(), dtype, FACTOR)
    want = llama_rotary(q, k, cos, sin, unsqueeze_dim=2)
    got = unfused.rotate(q, k, cos, sin)
    assert got[1] is not None
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


def test_interleaved_is_transformers_bits() -> None:
    q = heads(3, torch.float32, 3)
    cos, sin = unfused.cos_sin(inverse_frequencies(), positions(), torch.float32)
    pair_cos, pair_sin = (
        t[..., : HEAD_DIM // 2].repeat_interleave(2, -1).unsqueeze(2) for t in (cos, sin)
    )
    want = q * pair_cos + rotate_pairs(q) * pair_sin
    got, none = unfused.rotate(q, None, cos, sin, interleaved=True)
    assert none is None
    assert torch.equal(got, want)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_whole_call_is_near_the_reference(dtype: torch.dtype, interleaved: bool) -> None:
    rotary_dim = 12
    q, k = heads(3, dtype, 4), heads(1, dtype, 5)
    inv_freq = inverse_frequencies(rotary_dim)
    outputs = unfused.apply_rotary_qk(q, k, positions(), inv_freq, FACTOR, interleaved=interleaved)
    angle = positions()[..., None].double() * inv_freq.double()
    wants = reference.apply_rotary_cos_sin(
        q.double(),
        k.double(),
        angle.cos(),
        angle.sin(),
        rotary_dim=rotary_dim,
        interleaved=interleaved,
    )
    h = HALF_ULP[dtype]
    # The angle errs by |angle| u; torch's float32 cos and sin by one unit in the last place at most
    # (2 u of values up to 1); then cos or sin, product, sum and scaled sum round to the dtype.
    relative = 63 * U + 2 * U + 4 * h
    # Terms of second order; and in the float16 subnormal range, 2^-25 for each of the roundings.
    relative *= 1 + 8 * h
    for got, want, x in zip(outputs, wants, (q, k), strict=True):
        assert got is not None
        assert want is not None
        rotated = slice(0, rotary_dim)
        pairs = x.double()[..., rotated]
        size = (
            pairs.unflatten(-1, (-1, 2)).abs().sum(-1).repeat_interleave(2, -1)
            if interleaved
            else pairs.unflatten(-1, (2, -1)).abs().sum(-2).repeat(1, 1, 1, 2)
        )
        bound = FACTOR * size * relative + 2.0**-22
        assert ((got.double() - FACTOR * want)[..., rotated].abs() <= bound).all()
        assert torch.equal(got[..., rotary_dim:], x[..., rotary_dim:])


def test_scale_is_a_pass_of_its_own_and_one_runs_none() -> None:
    q, k = heads(2, torch.bfloat16, 6), heads(2, torch.bfloat16, 7)
    plain = unfused.apply_rotary_qk(q, k, positions(), inverse_frequencies())
    scaled = unfused.apply_rotary_qk(q, k, positions(), inverse_frequencies(), FACTOR)
    for a, b in zip(plain, scaled, strict=True):
        assert a is not None
        assert b is not None
        assert torch.equal(b, a * FACTOR)


def test_position_zero_is_the_identity_without_k() -> None:
    q = heads(2, torch.float16, 8)
    position_ids = torch.zeros(BATCH, SEQLEN, dtype=torch.int64)
    out, none = unfused.apply_rotary_qk(q, None, position_ids, inverse_frequencies())
    assert none is None
    assert torch.equal(out, q)


def test_blend_has_the_bits_of_the_definition() -> None:
    pos_freqs = 1e6 ** (torch.arange(0, 64, 2).float() / 64)
    ramp = torch.linspace(-0.3, 1.3, 32).clamp(0, 1)
    want = [
        blend_inv_freq_bits(p, r, 4.0)
        for p, r in zip(pos_freqs.tolist(), ramp.tolist(), strict=True)
    ]
    assert unfused.blend_inv_freq(pos_freqs, ramp, 4.0).tolist() == want


def test_gradient_is_the_rotation_backwards() -> None:
    q = heads(2, torch.float32, 9).double().requires_grad_()
    upstream = heads(2, torch.float32, 10).double()
    out, _ = unfused.apply_rotary_qk(q, None, positions(), inverse_frequencies(), FACTOR)
    (gradient,) = torch.autograd.grad(out, q, upstream)
    want, _ = unfused.apply_rotary_qk(upstream, None, -positions(), inverse_frequencies(), FACTOR)
    # The same products in another order: four roundings of float64 on values below 16.
    assert (gradient - want).abs().max() <= 4 * math.ulp(16.0)
    assert gradient.abs().max() > 1.0
