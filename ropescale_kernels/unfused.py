"""The unfused torch operations, in Transformers' order and dtypes: the baseline.

The angle is rounded to float32, and cos and sin to the dtype of q. Every step is its own pass over
memory: the blend of the frequencies, the angle, cos and sin, the rotation, and the scale. The
functions are plain differentiable torch and run on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def blend_inv_freq(pos_freqs: Tensor, ramp: Tensor, factor: float | Tensor) -> Tensor:
    """Return inverse frequencies blended through YaRN's ramp (arXiv:2309.00071, eq. 17 to 20).

    Args:
        pos_freqs: (rotary_dim / 2,) float32, tokens per radian.
        ramp: (rotary_dim / 2,) float32; 0 keeps a frequency, 1 divides it by `factor`.
        factor: Context extension s; a float, or a tensor that broadcasts.

    Returns:
        (rotary_dim / 2,) float32, radians per token.
    """
    inter = 1.0 / (factor * pos_freqs)
    extra = 1.0 / pos_freqs
    kept = 1 - ramp
    return inter * (1 - kept) + extra * kept


def cos_sin(
    inv_freq: Tensor,
    position_ids: Tensor,
    dtype: torch.dtype,
    attention_factor: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the float32 angle, scaled in float32 and rounded to `dtype`.

    Surprise: the angle of position p errs by up to |p * inv_freq| * 2^-24 radians, so at p = 10^6
    the fastest pair is off by about 0.03 radians.

    Args:
        inv_freq: (rotary_dim / 2,), radians per token.
        position_ids: (...), integers.
        dtype: Dtype of the results.
        attention_factor: Multiplies cos and sin: sqrt(1/t).

    Returns:
        cos and sin, (..., rotary_dim). Both halves of a row are equal.
    """
    angle = position_ids[..., None].float() * inv_freq.float()
    doubled = torch.cat((angle, angle), dim=-1)
    cos = doubled.cos() * attention_factor
    sin = doubled.sin() * attention_factor
    return cos.to(dtype), sin.to(dtype)


def _turned(x: Tensor, interleaved: bool) -> Tensor:
    """Return each pair (x0, x1) turned by a quarter: (-x1, x0)."""
    if interleaved:
        return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    rotary_dim = cos.shape[-1]
    if rotary_dim == x.shape[-1]:
        return x * cos + _turned(x, interleaved) * sin
    part, rest = x[..., :rotary_dim], x[..., rotary_dim:]
    return torch.cat((part * cos + _turned(part, interleaved) * sin, rest), dim=-1)


def rotate(
    q: Tensor, k: Tensor | None, cos: Tensor, sin: Tensor, interleaved: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Rotate q and k by tabulated cos and sin, in the dtype of q and k.

    Args:
        q: (batch, seqlen, nheads, head_dim) or (num_tokens, nheads, head_dim).
        k: The same with its own number of heads, or None.
        cos: (batch, seqlen, rotary_dim), or any shape that broadcasts to it; from `cos_sin`.
        sin: The same.
        interleaved: Pair channels (2j, 2j+1), not (j, j + rotary_dim/2).

    Returns:
        New tensors. Channels at and above rotary_dim are copies.
    """
    if interleaved:
        half = cos.shape[-1] // 2
        cos, sin = (t[..., :half].repeat_interleave(2, dim=-1) for t in (cos, sin))
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return (
        _rotated(q, cos, sin, interleaved),
        None if k is None else _rotated(k, cos, sin, interleaved),
    )


def _scaled(x: Tensor, attention_factor: float, rotary_dim: int) -> Tensor:
    if rotary_dim == x.shape[-1]:
        return x * attention_factor
    part, rest = x[..., :rotary_dim], x[..., rotary_dim:]
    return torch.cat((part * attention_factor, rest), dim=-1)


def apply_rotary_qk(
    q: Tensor,
    k: Tensor | None,
    position_ids: Tensor,
    inv_freq: Tensor,
    attention_factor: float = 1.0,
    *,
    interleaved: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Rotate q and k, then multiply the rotated channels of both by sqrt(1/t) as separate passes.

    The scale is a pass of its own, so an output is rounded to the dtype of q four times: each of
    two products, their sum, and the scaled sum. cos and sin are rounded to that dtype before.

    Args:
        q: (batch, seqlen, nheads, head_dim) or (num_tokens, nheads, head_dim).
        k: The same with its own number of heads, or None.
        position_ids: (batch, seqlen), (1, seqlen), (seqlen,) or (num_tokens,).
        inv_freq: (rotary_dim / 2,), radians per token, already blended (`blend_inv_freq`).
        attention_factor: sqrt(1/t); 1.0 runs no multiplication.
        interleaved: Pair channels (2j, 2j+1), not (j, j + rotary_dim/2).

    Returns:
        New tensors. Channels at and above rotary_dim are copies, not scaled.
    """
    cos, sin = cos_sin(inv_freq, position_ids, q.dtype)
    q_out, k_out = rotate(q, k, cos, sin, interleaved)
    if attention_factor == 1.0:
        return q_out, k_out
    rotary_dim = cos.shape[-1]
    return (
        _scaled(q_out, attention_factor, rotary_dim),
        None if k_out is None else _scaled(k_out, attention_factor, rotary_dim),
    )
