"""Turns, phases, their sine and cosine, and the blend: the numbers behind every implementation.

A turn is 2 pi radians. A step is the frequency of a channel pair in units of 2^-64 turns per token.
A phase is the product of position and step modulo one turn; its top 32 bits are used.
"""

from __future__ import annotations

import functools
import math

from .. import _sincos_coefficients as k
from ..errors import RopeScaleValueError, expected
from . import float32 as f32

WORD = 0xFFFFFFFF
DOUBLE_WORD = 0xFFFFFFFFFFFFFFFF
TURNS_BITS = 64
# Enough for |p| < 2^63: the angle of the float64 reference errs by less than 2^-250 turns.
WIDE_BITS = 320
# The largest float64 is below 2^1024. The result takes WIDE_BITS, and 256 bits are a guard.
_INV_TWO_PI_BITS = 1024 + WIDE_BITS + 256


@functools.lru_cache(maxsize=1)
def _inv_two_pi() -> int:
    """Return 2**_INV_TWO_PI_BITS / (2 pi) by Machin's formula in integers."""
    bits = 2 * _INV_TWO_PI_BITS

    def arctan_of_inverse(n: int) -> int:
        term = (1 << bits) // n
        total, divisor = term, 1
        while term:
            term //= -n * n
            divisor += 2
            total += term // divisor
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    return (1 << (bits + _INV_TWO_PI_BITS - 1)) // pi


def _shift_rounded(n: int, count: int) -> int:
    """Return n / 2**count rounded to the nearest integer, halves upwards."""
    return (n + (1 << (count - 1))) >> count if count > 0 else n << -count


def _require_finite(x: float) -> None:
    if not math.isfinite(x):
        raise RopeScaleValueError(expected("x", "a finite number of radians", x))


def turns_from_float32(x: float) -> int:
    """Return x / (2 pi) * 2^64 modulo 2^64, by a 24-bit times 96-bit product and one rounding.

    Args:
        x: A float32, radians.

    Returns:
        An unsigned 64-bit fraction of a turn; the two's complement if x is negative.

    Raises:
        RopeScaleValueError: x is not finite.
    """
    _require_finite(x)
    m, e = f32.integer_and_exponent(abs(x))
    turns = _shift_rounded(m * k.INV_TWO_PI_96, 34 - e)
    return (-turns if x < 0 else turns) & DOUBLE_WORD


def turns_from_float64(x: float, bits: int = TURNS_BITS) -> int:
    """Return x / (2 pi) in turns, correctly rounded to a number of bits, modulo one turn.

    Args:
        x: Radians; a float64.
        bits: Bits of the result, at most 320.

    Returns:
        An unsigned fraction of a turn in units of 2**-bits.

    Raises:
        RopeScaleValueError: x is not finite.
    """
    _require_finite(x)
    m, e = f32.integer_and_exponent(abs(x))
    turns = _shift_rounded(m * _inv_two_pi(), _INV_TWO_PI_BITS - bits - e)
    return (-turns if x < 0 else turns) & ((1 << bits) - 1)


def phase_from_position(position: int, step: int) -> int:
    """Return the top 32 bits of position * step modulo 2^64, exact for that step.

    Args:
        position: Any integer; its low 64 bits are used.
        step: Turns per token in units of 2^-64, unsigned.

    Returns:
        Unsigned 32-bit fraction of a turn.
    """
    return (position * step >> 32) & WORD


def angle_float32(position: int, inv_freq: float) -> float:
    """Return fl32(fl32(position) * inv_freq), the rounded angle of table-based engines."""
    return f32.mul(f32.float32_from_int(position), inv_freq)


def sincos_bits(phase: int) -> tuple[float, float]:
    """Return sine and cosine of 2 pi phase / 2^32 as float32; absolute errors are below 7.55e-8.

    Args:
        phase: Unsigned 32-bit fraction of a turn.

    Returns:
        Sine and cosine.
    """
    t = (phase + 0x20000000) & WORD
    reduced = ((t << 2) & WORD) ^ 0x80000000
    signed = reduced - (1 << 32) if reduced & 0x80000000 else reduced
    a = f32.float32_from_int(signed) * 2.0**-31
    z = f32.mul(a, a)
    p = f32.fma(z, k.SINE_3, k.SINE_2)
    p = f32.fma(z, p, k.SINE_1)
    sine = f32.fma(a, k.SINE_HI, f32.mul(a, f32.fma(z, p, k.SINE_LO)))
    q = f32.fma(z, k.COSINE_4, k.COSINE_3)
    q = f32.fma(z, q, k.COSINE_2)
    q = f32.fma(z, q, k.COSINE_1)
    cosine = f32.fma(z, q, 1.0)
    s, c = (cosine, sine) if t & 0x40000000 else (sine, cosine)
    return (
        -s if t & 0x80000000 else s,
        -c if (t + 0x40000000) & 0x80000000 else c,
    )


def sincos_wide(phase: int) -> tuple[float, float]:
    """Return sine and cosine in float64 of a phase of 320 bits (an unsigned fraction of a turn)."""
    signed = phase - (1 << WIDE_BITS) if phase >> (WIDE_BITS - 1) else phase
    angle = math.tau * (signed / (1 << WIDE_BITS))
    return math.sin(angle), math.cos(angle)


def blend_inv_freq_bits(pos_freq: float, ramp: float, factor: float) -> float:
    """Return YaRN's blended inverse frequency in Transformers' order of float32 operations.

    Args:
        pos_freq: Tokens per radian, float32: base ** (2 j / rotary_dim).
        ramp: Float32, 0 keeps the frequency, 1 divides it by `factor`.
        factor: Float32, the context extension s.

    Returns:
        Radians per token, float32 (arXiv:2309.00071, eq. 17 to 20).
    """
    inter = f32.div(1.0, f32.mul(factor, pos_freq))
    extra = f32.div(1.0, pos_freq)
    m = f32.add(1.0, -ramp)
    w = f32.add(1.0, -m)
    return f32.add(f32.mul(inter, w), f32.mul(extra, m))
