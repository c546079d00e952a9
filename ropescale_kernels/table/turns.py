"""From float32 radians to turns, in torch integer operations, so that any device can convert.

The same function as csrc/math/turns.h and `reference.turns_from_float32`, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._sincos_coefficients import INV_TWO_PI_96

_WORD = 0xFFFFFFFF


def turns_from_float32(x: Tensor) -> Tensor:
    """Compute round(x / (2 pi) * 2^64) mod 2^64 as two 32-bit words.

    The 24-bit mantissa times the 96-bit constant 2^98 / (2 pi) is exact. The shift that the
    exponent asks for rounds once.

    Args:
        x: float32 of any shape, in radians; finite.

    Returns:
        int32 of x's shape and a last axis of 2: the low and the high word, on x's device.
    """
    bits = x.view(torch.int32).to(torch.int64)
    biased = (bits >> 23) & 0xFF
    normal = (biased != 0).to(torch.int64)
    mantissa = (bits & 0x7FFFFF) | (normal << 23)
    shift = 184 - (biased + 1 - normal)

    # The product as four 32-bit words, with room for the shifts on both sides.
    words = []
    carry = torch.zeros_like(mantissa)
    for constant in (INV_TWO_PI_96, INV_TWO_PI_96 >> 32, INV_TWO_PI_96 >> 64):
        carry = mantissa * (constant & _WORD) + carry
        words.append(carry & _WORD)
        carry = carry >> 32
    words.append(carry)

    # Half of the last place that is kept.
    half_bit = shift - 1
    carry = torch.zeros_like(mantissa)
    for index in range(4):
        half = torch.where((half_bit >> 5) == index, 1 << (half_bit & 31), 0)
        total = words[index] + half + carry
        words[index] = total & _WORD
        carry = total >> 32
    zero = torch.zeros_like(mantissa)
    padded = torch.stack([zero] * 4 + words + [carry] + [zero] * 5)

    def word_at(bit: Tensor) -> Tensor:
        index = ((bit >> 5) + 4).clamp(0, len(padded) - 2).unsqueeze(0)
        low, high = padded.gather(0, index)[0], padded.gather(0, index + 1)[0]
        return ((low | (high << 32)) >> (bit & 31)) & _WORD

    lo, hi = word_at(shift), word_at(shift + 32)
    # Two's complement over both words if x is negative.
    negative = bits < 0
    negated_lo = (-lo) & _WORD
    negated_hi = (~hi + (lo == 0).to(torch.int64)) & _WORD
    both = torch.stack(
        [torch.where(negative, negated_lo, lo), torch.where(negative, negated_hi, hi)], dim=-1
    )
    return ((both ^ 0x80000000) - 0x80000000).to(torch.int32)
