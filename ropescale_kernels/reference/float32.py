"""IEEE 754 arithmetic in integers: every operation is exact, then rounded once to nearest even.

Values are Python floats that hold a number of a narrower format. No result depends on the
processor's rounding mode, on flushing of subnormal numbers, or on a compiler.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Attributes:
        precision: Bits of the significand, including the implicit bit.
        quantum: Exponent of the smallest subnormal number.
        limit: Exponent of the smallest power of two above the range.
    """

    precision: int
    quantum: int
    limit: int


FLOAT32 = Format(precision=24, quantum=-149, limit=128)
FLOAT16 = Format(precision=11, quantum=-24, limit=16)
BFLOAT16 = Format(precision=8, quantum=-133, limit=128)


def integer_and_exponent(x: float) -> tuple[int, int]:
    """Return n and e such that a finite x is n * 2**e exactly."""
    numerator, denominator = x.as_integer_ratio()
    return numerator, 1 - denominator.bit_length()


def _nearest(n: int, e: int, form: Format) -> float:
    """Return n * 2**e (not zero) rounded to the nearest number of a format, ties to even."""
    magnitude = abs(n)
    drop = max(magnitude.bit_length() - form.precision, form.quantum - e)
    if drop > 0:
        tail = magnitude & ((1 << drop) - 1)
        half = 1 << (drop - 1)
        magnitude >>= drop
        magnitude += tail > half or (tail == half and magnitude & 1)
        e += drop
    overflow = magnitude.bit_length() + e > form.limit
    return math.copysign(math.inf if overflow else math.ldexp(magnitude, e), n)


def narrow(x: float, form: Format) -> float:
    """Return a float rounded to a format; overflow is infinity, zeros keep their sign."""
    if x == 0.0 or not math.isfinite(x):
        return x
    return _nearest(*integer_and_exponent(x), form)


def float32_from_int(n: int) -> float:
    """Return an integer of any size as float32, rounded once."""
    return _nearest(n, 0, FLOAT32) if n else 0.0


def mul(x: float, y: float) -> float:
    """Return fl32(x * y); the product of two float32 is exact in a Python float."""
    return narrow(x * y, FLOAT32)


def add(x: float, y: float) -> float:
    """Return fl32(x + y); rounding the sum to 53 bits first cannot change the result."""
    return narrow(x + y, FLOAT32)


def div(x: float, y: float) -> float:
    """Return fl32(x / y); rounding the quotient to 53 bits first cannot change the result."""
    if y == 0.0:
        sign = math.copysign(1.0, x) * math.copysign(1.0, y)
        return math.nan if x == 0.0 or math.isnan(x) else sign * math.inf
    return narrow(x / y, FLOAT32)


def fma(x: float, y: float, z: float) -> float:
    """Return fl32(x * y + z), rounded once."""
    product = x * y
    if product == 0.0 or z == 0.0 or not (math.isfinite(product) and math.isfinite(z)):
        return narrow(product + z, FLOAT32)
    n, e = integer_and_exponent(product)
    m, f = integer_and_exponent(z)
    low = min(e, f)
    total = (n << (e - low)) + (m << (f - low))
    return _nearest(total, low, FLOAT32) if total else 0.0


def float32_from_bits(bits: int) -> float:
    """Return the float32 with the given bits (a negative int32 stands for its unsigned word)."""
    value: float = struct.unpack("<f", struct.pack("<I", bits & 0xFFFFFFFF))[0]
    return value
