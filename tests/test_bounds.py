"""The table of bounds: it holds, it is nearly reached, and it catches what is wrong."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from ropescale_kernels import RopeScaleTypeError, bounds
from ropescale_kernels.reference import float32 as f32
from ropescale_kernels.reference import rotate_bits, sincos_bits
from ropescale_kernels.reference.rotation import FORMATS

TURN = 2.0**32
U = 2.0**-24
DTYPES = list(FORMATS)
# phase, x0, factor, got, want, error / bound: the rows of the docstring of bounds.py
WITNESSES = {
    torch.float32: (533107344, 1.7199375629425049, 1.6532992124557495, 2.0217490196228027, 0.60),
    torch.float16: (829811200, 1.0703125, 1.3457969427108765, 0.50341796875, 0.98),
    torch.bfloat16: (3992989103, 1.3125, 1.6922173500061035, 2.0, 0.99),
}


def sine_cosine(phase: int) -> tuple[float, float]:
    angle = math.tau * (phase / TURN)
    return math.sin(angle), math.cos(angle)


def rotated(x0: float, x1: float, phase: int, factor: float, dtype: torch.dtype) -> float:
    s, c = sincos_bits(phase)
    o0, _ = rotate_bits(x0, x1, f32.mul(c, factor), f32.mul(s, factor))
    return f32.narrow(o0, FORMATS[dtype])


def true(x0: float, x1: float, phase: int, factor: float) -> float:
    s, c = sine_cosine(phase)
    return factor * (x0 * c - x1 * s)


def bound(x0: float, x1: float, factor: float, dtype: torch.dtype, exact: float) -> float:
    def double(x: float) -> Tensor:
        return torch.tensor(x, dtype=torch.float64)

    limit = bounds.rotation_bound(double(x0), double(x1), factor, dtype, exact=double(exact))
    return float(limit)


def sample_phases(count: int) -> list[int]:
    chosen = random.Random(7)
    corners = [(n << 29) + d & 0xFFFFFFFF for n in range(8) for d in (-1, 0, 1)]
    return corners + [chosen.getrandbits(32) for _ in range(count)]


def test_sine_and_cosine_stay_within_their_bound_and_nearly_reach_it() -> None:
    errors = [
        abs(got - want)
        for phase in [*sample_phases(4000), 533107344]
        for got, want in zip(sincos_bits(phase), sine_cosine(phase), strict=True)
    ]
    # 4.4e-9 of the bound belong to the phase, which is exact here.
    assert 0.85 * bounds.SINCOS_ABS < max(errors) < bounds.SINCOS_ABS - 4.4e-9


def test_rotation_constant_covers_error_and_roundings_jointly() -> None:
    # The two phases with the largest sum were found by going through all of them.
    joint = [
        abs(got - want) + 3 * U * abs(want)
        for phase in [*sample_phases(4000), 268551344]
        for got, want in zip(sincos_bits(phase), sine_cosine(phase), strict=True)
    ]
    assert 0.9 * bounds.ROTATION_REL < max(joint) + 4.4e-9 < bounds.ROTATION_REL


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rotation_stays_within_its_bound(dtype: torch.dtype) -> None:
    chosen = random.Random(11)
    for phase in sample_phases(1500):
        scale = 2.0 ** chosen.randint(-24, 10)
        factor = f32.narrow(chosen.uniform(0.25, 2.0), f32.FLOAT32)
        x0, x1 = (f32.narrow(scale * chosen.gauss(0, 1), FORMATS[dtype]) for _ in range(2))
        got, want = rotated(x0, x1, phase, factor, dtype), true(x0, x1, phase, factor)
        limit = bound(x0, x1, factor, dtype, want)
        assert abs(got - want) <= limit, (phase, x0, x1, factor)
        general = bounds.rotation_bound(torch.tensor(x0), torch.tensor(x1), factor, dtype)
        # The general form counts the rounding of the largest output, so it is never smaller.
        assert float(general) >= limit * (1 - 2.0**-50)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bound_is_witnessed_and_one_step_beyond_violates_it(dtype: torch.dtype) -> None:
    phase, x0, factor, got, ratio = WITNESSES[dtype]
    want = true(x0, 0.0, phase, factor)
    limit = bound(x0, 0.0, factor, dtype, want)
    output = rotated(x0, 0.0, phase, factor, dtype)
    assert output == got
    assert abs(output - want) / limit == pytest.approx(ratio, abs=0.01)
    away = torch.tensor(math.inf if output > want else -math.inf, dtype=dtype)
    step = torch.tensor(output, dtype=dtype)
    # float32's bound is several units wide; those of the narrow types are one rounding.
    for _ in range(2 if dtype == torch.float32 else 1):
        step = torch.nextafter(step, away)
    assert abs(float(step) - want) > limit


def test_float32_angle_at_a_long_position_violates_the_bound() -> None:
    position, inv_freq = 1_000_003, 0.7320508
    inv_freq = f32.narrow(inv_freq, f32.FLOAT32)
    rounded = f32.mul(float(position), inv_freq)
    x = torch.ones(1, dtype=torch.float64)
    limit = bounds.rotation_bound(x, 0 * x, 1.0, torch.float32)
    assert abs(math.cos(rounded) - math.cos(position * inv_freq)) > 1000 * float(limit)


def test_an_output_type_without_a_bound_is_refused() -> None:
    one = torch.ones(1)
    with pytest.raises(RopeScaleTypeError, match=r"dtype: expected float32, .* got torch\.float64"):
        bounds.rotation_bound(one, one, 1.0, torch.float64)


def test_overflow_makes_the_bound_infinite() -> None:
    x = torch.tensor([6.0e4, 7.0e4])
    assert torch.isinf(bounds.rotation_bound(x, 0 * x, 1.0, torch.float16)).tolist() == [
        False,
        True,
    ]
    huge = torch.tensor([3.0e38])
    assert torch.isinf(bounds.rotation_bound(huge, huge, 1.0, torch.bfloat16)).all()
