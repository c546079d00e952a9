"""The rotation of channel pairs by given cosines and sines, in either precision."""

from __future__ import annotations

import torch
from torch import Tensor

from . import float32 as f32

FORMATS = {
    torch.float32: f32.FLOAT32,
    torch.float16: f32.FLOAT16,
    torch.bfloat16: f32.BFLOAT16,
}


def rotate_bits(x0: float, x1: float, c: float, s: float) -> tuple[float, float]:
    """Return (x0 c - x1 s, x1 c + x0 s) in float32: one product rounded, the other fused.

    Args:
        x0: First channel of the pair.
        x1: Second channel.
        c: Cosine times the attention factor, float32.
        s: Sine times the attention factor, float32.

    Returns:
        The rotated pair, float32.
    """
    return f32.fma(x0, c, -f32.mul(x1, s)), f32.fma(x1, c, f32.mul(x0, s))


def _rotated_bits(x0: Tensor, x1: Tensor, c: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    form = FORMATS[x0.dtype]
    columns = [t.double().expand(x0.shape).flatten().tolist() for t in (x0, x1, c, s)]
    pairs = [rotate_bits(*row) for row in zip(*columns, strict=True)]
    outputs = []
    for half in (0, 1):
        words = [f32.narrow(pair[half], form) for pair in pairs]
        outputs.append(
            torch.tensor(words, dtype=torch.float64, device="cpu").to(x0.dtype).view(x0.shape)
        )
    return outputs[0], outputs[1]


def _product(x: Tensor, y: Tensor, precision: str) -> Tensor:
    if precision == "float64":
        return x * y
    columns = (x.flatten().tolist(), y.expand(x.shape).flatten().tolist())
    words = [f32.mul(*row) for row in zip(*columns, strict=True)]
    return torch.tensor(words, dtype=torch.float64, device="cpu").view(x.shape)


def rotate_tensor(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    factor: Tensor,
    *,
    interleaved: bool,
    conjugate: bool,
    precision: str,
) -> Tensor:
    """Return q or k with its leading channels rotated.

    Args:
        x: (..., nheads, head_dim), float32, float16, bfloat16, or float64 in precision "float64".
        cos: (..., rotary_dim / 2) float64, one row per token, without the attention factor.
        sin: As `cos`.
        factor: (...) float64, attention factor of each token.
        interleaved: Pair (2j, 2j+1), not (j, j + rotary_dim/2).
        conjugate: Rotate backwards.
        precision: "float64" or "bits".

    Returns:
        A new tensor of the shape of `x`: float64 in precision "float64", otherwise the dtype of x.
    """
    half = cos.shape[-1]
    c = _product(cos, factor.unsqueeze(-1), precision).unsqueeze(-2)
    s = _product(sin, factor.unsqueeze(-1), precision).unsqueeze(-2)
    s = -s if conjugate else s
    out = x.double() if precision == "float64" else x.clone()
    first = slice(0, 2 * half, 2) if interleaved else slice(0, half)
    second = slice(1, 2 * half, 2) if interleaved else slice(half, 2 * half)
    x0, x1 = out[..., first], out[..., second]
    if precision == "float64":
        y0, y1 = x0 * c - x1 * s, x1 * c + x0 * s
    else:
        y0, y1 = _rotated_bits(x0, x1, c, s)
    out[..., first], out[..., second] = y0, y1
    return out
