"""The table of error bounds, and the derivation of each bound.

Notation: u = 2^-24, f is the attention factor, c and s are the true cosine and sine of the angle.

Sine and cosine. The polynomials err by at most 7.55e-8 at every phase. A phase of 32 bits drops
less than 2^-32 turns, and a step of 64 bits errs by 2^-65 turns per token, 2^-31 turns at
|p| = 2^34: in all 2 pi (2^-32 + 2^-31) = 4.4e-9 radians. The sum is below SINCOS_ABS = 8e-8.

Rotation in float32. With sine and cosine in error by e_s and e_c, the products with the factor
rounded (u f |c|, u f |s|), the product x1 s rounded (u f |x1 s|) and the fma rounded (u |o|, where
|o| <= f (|x0 c| + |x1 s|)), an output o0 errs by at most

    f |x0| (e_c + 2 u |c|) + f |x1| (e_s + 3 u |s|)

and o1 by the same with x0 and x1 exchanged. The error of a polynomial is not largest where its
value is largest, so the largest e + 3 u |value| over all phases is 2.12e-7, not 8e-8 + 3 u. With
4.4e-9 for the phase, and the terms of order u^2, ROTATION_REL = 2.2e-7 bounds it.
Subnormal results add 2^-149 (float32's quantum), once for the product and once for the fma.

Rounding to the output type adds half a unit in the last place of the float32 value: 2^-11 relative
in float16 (at least 2^-25), 2^-8 in bfloat16 (at least 2^-134), nothing in float32.

Witnesses (tests/test_bounds.py computes them again): o0 of the pair (x0, 0) at a phase of 2^32,

| what | phase | x0, factor | got | want | error / bound |
|---|---|---|---|---|---|
| cosine | 533107344 | | 0.7109892964 | 0.7109892266 | 0.87 |
| float32 | 533107344 | 1.71993756, 1.65329921 | 2.0217490196 | 2.0217486436 | 0.60 |
| float16 | 829811200 | 1.0703125, 1.34579694 | 0.5034179688 | 0.5031757256 | 0.98 |
| bfloat16 | 3992989103 | 1.3125, 1.69221735 | 2.0 | 2.0078083519 | 0.99 |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import RopeScaleTypeError, expected

SINCOS_ABS = 8e-8
ROTATION_REL = 2.2e-7
FLOAT32_QUANTUM = 2.0**-149
FLOAT32_MAX = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Rounding:
    """Half a unit in the last place of an output type.

    Attributes:
        relative: Relative to a float32 value in the normal range of the type.
        absolute: For a float32 value below the normal range.
    """

    relative: float
    absolute: float


ROUNDING = {
    torch.float32: Rounding(0.0, 0.0),
    torch.float16: Rounding(2.0**-11, 2.0**-25),
    torch.bfloat16: Rounding(2.0**-8, 2.0**-134),
}


def rotation_bound(
    x0: Tensor,
    x1: Tensor,
    factor: float | Tensor,
    dtype: torch.dtype,
    *,
    exact: Tensor | None = None,
) -> Tensor:
    """Return a bound of the error of either rotated channel of a pair, for |position| <= 2^34.

    Args:
        x0: First channel of the pair, any shape; finite.
        x1: Second channel, same shape.
        factor: Multiplier of cos and sin, at least 2^-90; a tensor must broadcast.
        dtype: Dtype of the output: float32, float16 or bfloat16.
        exact: The true output, if it is known. The bound then counts the rounding of that output
            instead of the rounding of the largest output that the pair can have.

    Returns:
        float64 tensor of absolute bounds; infinity if the output may overflow.

    Raises:
        RopeScaleTypeError: Another dtype.
    """
    if dtype not in ROUNDING:
        raise RopeScaleTypeError(expected("dtype", "float32, float16 or bfloat16", str(dtype)))
    first, second = x0.double().abs(), x1.double().abs()
    largest = factor * torch.hypot(first, second)
    output = largest if exact is None else exact.double().abs()
    float32_error = factor * (first + second) * ROTATION_REL + 2 * FLOAT32_QUANTUM
    rounding = ROUNDING[dtype]
    rounded = (rounding.relative * (output + float32_error)).clamp(min=rounding.absolute)
    total = float32_error + rounded
    # A product inside the fma can overflow although the output does not.
    overflows = (output + total > torch.finfo(dtype).max) | (largest + float32_error > FLOAT32_MAX)
    return total.masked_fill(overflows, math.inf)
