"""The device math: csrc/math in Triton, operation for operation, because the bits must be equal.

Every operation is exact, or rounded once to nearest even. Kernels that use this module are compiled
with `enable_fp_fusion=False` and divide with `tl.div_rn`.
"""

import triton
import triton.language as tl

from ... import _sincos_coefficients as coefficients

_SINE_HI = tl.constexpr(coefficients.SINE_HI)
_SINE_LO = tl.constexpr(coefficients.SINE_LO)
_SINE_1 = tl.constexpr(coefficients.SINE_1)
_SINE_2 = tl.constexpr(coefficients.SINE_2)
_SINE_3 = tl.constexpr(coefficients.SINE_3)
_COSINE_1 = tl.constexpr(coefficients.COSINE_1)
_COSINE_2 = tl.constexpr(coefficients.COSINE_2)
_COSINE_3 = tl.constexpr(coefficients.COSINE_3)
_COSINE_4 = tl.constexpr(coefficients.COSINE_4)
_INV_TWO_PI_0 = tl.constexpr(coefficients.INV_TWO_PI_96 & 0xFFFFFFFF)
_INV_TWO_PI_1 = tl.constexpr(coefficients.INV_TWO_PI_96 >> 32 & 0xFFFFFFFF)
_INV_TWO_PI_2 = tl.constexpr(coefficients.INV_TWO_PI_96 >> 64)


@triton.jit
def as_float(x):
    return x.to(tl.float32, bitcast=True)


@triton.jit
def as_uint(x):
    return x.to(tl.uint32, bitcast=True)


@triton.jit
def _shift_left(x, count):
    # A shift by 64 or more is undefined. Counts are unsigned, so a negative count is a huge one.
    return tl.where(count < 64, x << (count & 63), 0)


@triton.jit
def _shift_right(x, count):
    return tl.where(count < 64, x >> (count & 63), 0)


@triton.jit
def turns_from_float32(x):
    """Compute round(x / (2 pi) * 2^64) mod 2^64 as uint64, for finite x (csrc/math/turns.h)."""
    bits = as_uint(x)
    biased = (bits >> 23) & 0xFF
    normal = (biased + 0xFF) >> 8
    m = ((bits & 0x7FFFFF) | (normal << 23)).to(tl.uint64)
    shift = 184 - (biased + 1 - normal).to(tl.uint64)

    # 24 x 96 bits, exactly, as the two halves (high, low) of 128.
    p0 = m * _INV_TWO_PI_0
    p1 = m * _INV_TWO_PI_1 + (p0 >> 32)
    high = m * _INV_TWO_PI_2 + (p1 >> 32)
    low = (p0 & 0xFFFFFFFF) | (p1 << 32)

    # Add half of the last place kept, then shift the 128 bits.
    one = tl.full(shift.shape, 1, tl.uint64)
    low_sum = low + _shift_left(one, shift - 1)
    carry = (low_sum < low).to(tl.uint64)
    high_sum = high + _shift_left(one, shift - 65) + carry
    turns = _shift_right(low_sum, shift) | _shift_left(high_sum, 64 - shift)
    turns = turns | _shift_right(high_sum, shift - 64) | _shift_left(low_sum, 0 - shift)
    negative = 0 - (bits >> 31).to(tl.uint64)
    return (turns ^ negative) - negative


@triton.jit
def phase_of_position(position, step_lo, step_hi):
    """Compute the top 32 bits of position x step modulo 2^64 (csrc/math/phase.h).

    `position` is int64, the step's words are uint32; they broadcast.
    """
    position_lo = position.to(tl.uint32)
    position_hi = (position >> 32).to(tl.uint32)
    # The operands are broadcast by hand, because umulhi of the interpreter asks for equal shapes.
    position_lo, step_lo = tl.broadcast(position_lo, step_lo)
    return position_lo * step_hi + position_hi * step_lo + tl.umulhi(position_lo, step_lo)


@triton.jit
def sincos_of_phase(phase):
    """Compute sine and cosine of a uint32 phase in turns x 2^32 (csrc/math/sincos.h)."""
    # The top two bits of t are the quadrant. The other bits, centred, are an eighth of a turn
    # either way.
    t = phase + 0x20000000
    centred = ((t << 2) ^ 0x80000000).to(tl.int32, bitcast=True)
    a = centred.to(tl.float32) * (2.0**-31)
    z = a * a

    p = tl.fma(z, _SINE_3, _SINE_2)
    p = tl.fma(z, p, _SINE_1)
    sine = tl.fma(a, _SINE_HI, a * tl.fma(z, p, _SINE_LO))

    q = tl.fma(z, _COSINE_4, _COSINE_3)
    q = tl.fma(z, q, _COSINE_2)
    q = tl.fma(z, q, _COSINE_1)
    cosine = tl.fma(z, q, 1.0)

    odd = (t & 0x40000000) != 0
    s = as_float(as_uint(tl.where(odd, cosine, sine)) ^ (t & 0x80000000))
    c = as_float(as_uint(tl.where(odd, sine, cosine)) ^ ((t + 0x40000000) & 0x80000000))
    return s, c


@triton.jit
def nan_unless_finite(guard, value):
    """Return `value`, or NaN where `guard` is an infinity or NaN."""
    return tl.where((as_uint(guard) & 0x7F800000) == 0x7F800000, float("nan"), value)


@triton.jit
def blend_inv_freq(pos_freq, ramp, factor):
    """Blend in Transformers' order of float32 operations (csrc/math/blend.h)."""
    one = tl.full(pos_freq.shape, 1.0, tl.float32)
    inter = tl.div_rn(one, factor * pos_freq)
    extra = tl.div_rn(one, pos_freq)
    m = 1.0 - ramp
    kept = extra * m
    return inter * (1.0 - m) + kept


@triton.jit
def negated(x):
    """Flip the sign bit. Triton's own minus subtracts from zero, so that -0 becomes 0."""
    return as_float(as_uint(x) ^ 0x80000000)


@triton.jit
def rotate_pair(x0, x1, c, s, negated_s):
    """Rotate one pair of channels (csrc/math/rotate.h); -(x1 s) is x1 (-s), zeros included."""
    return tl.fma(x0, c, x1 * negated_s), tl.fma(x1, c, x0 * s)


@triton.jit
def widen(x, INTERPRETED: tl.constexpr):
    """Return the float32 of the same value.

    The interpreter's own conversions from and to bfloat16 lose subnormal numbers and truncate.
    Interpreted kernels therefore convert as csrc/math/narrow.h does. The instructions of devices
    give the same results.
    """
    if INTERPRETED and x.dtype == tl.bfloat16:
        return as_float(x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16)
    return x.to(tl.float32)


@triton.jit
def narrow(x, DTYPE: tl.constexpr, INTERPRETED: tl.constexpr):
    """Round float32 once to nearest even."""
    if INTERPRETED and DTYPE == tl.bfloat16:
        u = as_uint(x)
        rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16
        rounded = tl.where((u & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, rounded)
        return rounded.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return x.to(DTYPE)
