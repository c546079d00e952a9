"""turns_from_float32 in torch operations against the definition, over every exponent."""

from __future__ import annotations

import math
import random

import pytest
import torch

from ropescale_kernels import reference
from ropescale_kernels.table.turns import turns_from_float32

# Mantissas that carry or vanish, tried with every exponent below infinity's beside random ones.
EDGES = (0, 1, 2, 0x400000, 0x7FFFFE, 0x7FFFFF)


def every_exponent(sign: int) -> torch.Tensor:
    draw = random.Random(5 + sign)
    words = [
        (sign << 31) | (exponent << 23) | mantissa
        for exponent in range(255)
        for mantissa in (*EDGES, *(draw.getrandbits(23) for _ in range(20)))
    ]
    return torch.tensor([w - (w >> 31 << 32) for w in words], dtype=torch.int32).view(torch.float32)


def joined(words: torch.Tensor) -> list[int]:
    return [(high & 0xFFFFFFFF) << 32 | (low & 0xFFFFFFFF) for low, high in words.tolist()]


@pytest.mark.parametrize("sign", [0, 1])
def test_every_exponent_gives_the_words_of_the_definition(sign: int) -> None:
    x = every_exponent(sign)
    want = [reference.turns_from_float32(value) for value in x.tolist()]
    assert joined(turns_from_float32(x)) == want
    # Not a table of zeros: half a turn and more is reached.
    assert max(want) >= 1 << 63


def test_shape_and_dtype_are_kept_and_strides_do_not_matter() -> None:
    x = every_exponent(0)[:6000].view(60, 100)
    words = turns_from_float32(x)
    assert words.dtype == torch.int32
    assert words.shape == (60, 100, 2)
    assert torch.equal(turns_from_float32(x.t()), words.transpose(0, 1))
    assert torch.equal(turns_from_float32(x[::3, 1::2]), words[::3, 1::2])
    assert turns_from_float32(x[:0]).shape == (0, 100, 2)


@pytest.mark.parametrize(
    "x", [0.0, -0.0, 2.0**-149, 1e-4, 1.0, math.pi, 2 * math.pi, 7.0, 1e6, 3.4e38]
)
def test_a_negative_frequency_is_the_twos_complement(x: float) -> None:
    both = torch.tensor([x, -x])
    positive, negative = joined(turns_from_float32(both))
    assert (positive + negative) % 2**64 == 0
    # Below one turn float64 knows the answer but for the rounding of 2 pi and of the quotient,
    # 2^-53 each, and that of the words to a whole unit.
    value = both[0].item()
    if 0 < value < 2 * math.pi:
        want = value / (2 * math.pi) * 2.0**64
        assert math.isclose(positive, want, rel_tol=3 * 2.0**-53, abs_tol=0.5)
