"""Types of PTX, and arrays of values as bits.

A register holds bits, as an array of unsigned integers of its size over threads; a predicate is an
array of bool. An instruction names the type as which it reads them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
FLOAT = {2: np.float16, 4: np.float32, 8: np.float64}
_NUMPY: dict[str, dict[int, Any]] = {"u": UNSIGNED, "b": UNSIGNED, "s": SIGNED, "f": FLOAT}
# What a conversion to 16 bits makes of every NaN, on a device.
NAN16 = np.uint16(0x7FFF)


class Type(NamedTuple):
    """A type: kind "u", "s", "f", "b" (bits), "bf" (bfloat16) or "p" (predicate), and bytes."""

    kind: str
    size: int

    @property
    def bits(self) -> Type:
        """The type of the same size without a meaning."""
        return Type("b", self.size)


def type_of(name: str) -> Type | None:
    """Return the type that a modifier names, or None: "f32", "b64", "pred", "bf16", "s16x2"."""
    if name == "pred":
        return Type("p", 0)
    if name.endswith("x2"):
        return Type("b", 4)
    if name == "bf16":
        return Type("bf", 2)
    digits = {"8": 1, "16": 2, "32": 4, "64": 8}
    if name[:1] in _NUMPY and name[1:] in digits:
        return Type(name[0], digits[name[1:]])
    return None


def interpreted(bits: Any, kind: Type) -> Any:
    """Return bits read as a type; a wider register gives its low bytes."""
    if kind.kind == "p":
        return bits
    if kind.kind == "bf":
        return from_bfloat16(interpreted(bits, kind.bits))
    if bits.dtype.itemsize != kind.size:
        bits = bits.astype(UNSIGNED[kind.size])
    return bits.view(_NUMPY[kind.kind][kind.size])


def as_bits(values: Any, size: int) -> Any:
    """Return values as the bits of a register of `size` bytes; integers extend by their sign."""
    if values.dtype == bool:
        assert size == 0, "a predicate goes to a predicate register"
        return values
    if values.dtype.kind == "f":
        values = values.view(UNSIGNED[values.dtype.itemsize])
    if values.dtype.itemsize != size:
        values = values.astype(SIGNED[size] if values.dtype.kind == "i" else UNSIGNED[size])
    return values.view(UNSIGNED[size])


def words(raw: Any, size: int) -> Any:
    """Return the words of `size` bytes in rows of bytes, as an array (rows, words)."""
    return np.ascontiguousarray(raw).view(UNSIGNED[size])


def from_bfloat16(bits: Any) -> Any:
    """Return float32 values of bfloat16 bits."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat16(x: Any) -> Any:
    """Return the bfloat16 bits of float32 values, rounded to nearest, ties to even."""
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), NAN16, rounded.astype(np.uint16))


def to_float16(x: Any) -> Any:
    """Return the float16 bits of float32 values, rounded to nearest, ties to even."""
    return np.where(np.isnan(x), NAN16, x.astype(np.float16).view(np.uint16))
