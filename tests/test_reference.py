"""The reference: its truth against mpmath, its bits against numpy and torch, its layouts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

from ropescale_kernels import RopeScaleTypeError, RopeScaleValueError, bounds, reference
from ropescale_kernels.reference import float32 as f32
from ropescale_kernels.reference.rotation import FORMATS

DTYPES = list(FORMATS)


@dataclass
class StandInTable:
    """What the reference reads of a RotaryTable, made without it."""

    turns_per_token: Tensor
    inv_freq_bits: Tensor
    attention_factor_bits: Tensor
    axis_ids: Tensor | None = None
    num_axes: int = 0
    blend: tuple[Tensor, Tensor, Tensor] | None = None
    frequency_dtype: str = "float32"

    @property
    def num_profiles(self) -> int:
        return self.inv_freq_bits.shape[0]

    @property
    def rotary_dim(self) -> int:
        return 2 * self.inv_freq_bits.shape[1]

    def set_inv_freq(self, inv_freq: Tensor) -> None:
        """Take float32 `(num_profiles, rotary_dim // 2)`, and the steps of its bits."""
        self.inv_freq_bits = inv_freq.view(torch.int32)
        words = [
            [divmod(reference.turns_from_float32(x), 2**32)[::-1] for x in row]
            for row in inv_freq.tolist()
        ]
        unsigned = torch.tensor(words, dtype=torch.int64)
        self.turns_per_token = ((unsigned + 2**31) % 2**32 - 2**31).to(torch.int32)


def make_table(
    rotary_dim: int,
    bases: tuple[float, ...] = (1e4,),
    factors: tuple[float, float] = (1.0, 1.0),
) -> StandInTable:
    empty = torch.empty(0, dtype=torch.int32)
    multipliers = torch.tensor([factors] * len(bases)).view(torch.int32)
    table = StandInTable(empty, empty, multipliers)
    exponents = torch.arange(0, rotary_dim, 2) / rotary_dim
    table.set_inv_freq(torch.stack([1.0 / base**exponents for base in bases]))
    return table


# A table with three position axes.
AXES = dataclasses.replace(make_table(4), axis_ids=torch.zeros(2, dtype=torch.int32), num_axes=3)


def random_heads(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_truth_is_mpmath_s_at_long_and_negative_positions() -> None:
    table = make_table(rotary_dim=4, factors=(1.25, 0.75))
    inv_freq = torch.tensor([1.0, 0.01]).tolist()
    positions = [0, 1, 999_983, 2**31 - 1, -7, -(2**40) - 1, 2**62 + 3]
    q = torch.tensor([1.0, 0.0, 0.0, -2.0]).repeat(len(positions), 1, 1)
    got_q, got_k = reference.apply_rotary_qk(q, q, torch.tensor(positions), table)
    assert got_k is not None
    with mpmath.workprec(400):
        for token, p in enumerate(positions):
            slow, fast = (mpmath.mpf(p) * mpmath.mpf(f) for f in reversed(inv_freq))
            want = [mpmath.cos(fast), 2 * mpmath.sin(slow), mpmath.sin(fast), -2 * mpmath.cos(slow)]
            for factor, got in ((1.25, got_q), (0.75, got_k)):
                errors = [
                    float(abs(g - factor * w))
                    for g, w in zip(got[token, 0].tolist(), want, strict=True)
                ]
                # A float64 angle below pi, its sine, and two products: at most 6 * 2^-53 * 2.
                assert max(errors) < 12 * 2.0**-53


def test_float64_frequencies_are_those_of_their_steps() -> None:
    step, position = 0x123456789ABCDEF0, 2**45 + 12345
    table = make_table(rotary_dim=2)
    words = [step & 0xFFFFFFFF, step >> 32]
    table.turns_per_token = torch.tensor(
        [[[w - (w >> 31 << 32) for w in words]]], dtype=torch.int32
    )
    table.frequency_dtype = "float64"
    q = torch.tensor([[[1.0, 0.0]]])
    got, _ = reference.apply_rotary_qk(q, None, torch.tensor([position]), table)
    angle = math.tau * float(Fraction(position * step % 2**64, 2**64))
    assert got.flatten().tolist() == pytest.approx([math.cos(angle), math.sin(angle)], abs=1e-15)


@pytest.mark.parametrize("phase", ["exact", "float32"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_lie_within_the_bound_of_the_truth(dtype: torch.dtype, phase: str) -> None:
    table = make_table(rotary_dim=6, factors=(1.1386294, 0.5))
    position_ids = torch.tensor([0, 1, 4093, 999_983, 2**24 + 1, 2**31 - 1, -5, 2**34])
    q, k = random_heads((8, 2, 8), dtype, 1), random_heads((8, 1, 8), dtype, 2)
    truth = reference.apply_rotary_qk(q, k, position_ids, table, phase=phase)
    bits = reference.apply_rotary_qk(q, k, position_ids, table, phase=phase, precision="bits")
    for x, factor, want, got in zip((q, k), (1.1386294, 0.5), truth, bits, strict=True):
        assert want is not None
        assert got is not None
        assert got.dtype == dtype
        x0, x1 = (x[..., s].repeat(1, 1, 2) for s in (slice(0, 3), slice(3, 6)))
        limit = bounds.rotation_bound(x0, x1, factor, dtype, exact=want[..., :6])
        assert ((got.double() - want)[..., :6].abs() <= limit).all()
        assert torch.equal(got[..., 6:], x[..., 6:])


def test_float32_phase_differs_from_exact_where_the_angle_is_rounded() -> None:
    table = make_table(rotary_dim=4)
    q = random_heads((1, 1, 4), torch.float32, 3)
    position_ids = torch.tensor([999_983])
    exact, _ = reference.apply_rotary_qk(q, None, position_ids, table)
    rounded, _ = reference.apply_rotary_qk(q, None, position_ids, table, phase="float32")
    angle = f32.mul(999_983.0, f32.narrow(0.01, f32.FLOAT32))
    x0, x1 = q[0, 0, 1].item(), q[0, 0, 3].item()
    assert rounded[0, 0, 1].item() == x0 * math.cos(angle) - x1 * math.sin(angle)
    assert (exact - rounded).abs().max() > 1e-5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_position_zero_is_the_identity_and_pass_through_keeps_every_word(
    dtype: torch.dtype,
) -> None:
    q = random_heads((3, 2, 8), dtype, 4)
    q[..., 6] = math.nan
    q[..., 7] = -0.0
    words = torch.int32 if dtype == torch.float32 else torch.int16
    out, none = reference.apply_rotary_qk(
        q, None, torch.zeros(3, dtype=torch.int32), make_table(6), precision="bits"
    )
    assert none is None
    assert torch.equal(out.view(words), q.view(words))


@pytest.mark.parametrize("precision", ["float64", "bits"])
def test_conjugate_is_the_rotation_by_the_negative_position(precision: str) -> None:
    table, q = make_table(8), random_heads((4, 2, 8), torch.float32, 5)
    position_ids = torch.tensor([1, 17, 4093, 2**31 - 1])
    options = {"precision": "float64", "conjugate": True}
    back, _ = reference.apply_rotary_qk(
        q, None, position_ids, table, conjugate=True, precision=precision
    )
    want, _ = reference.apply_rotary_qk(q, None, -position_ids, table)
    forward, _ = reference.apply_rotary_qk(q, None, position_ids, table)
    home, _ = reference.apply_rotary_qk(forward, None, position_ids, table, **options)
    limit = bounds.rotation_bound(q[..., :4], q[..., 4:], 1.0, torch.float32).repeat(1, 1, 2)
    assert ((back - want).abs() <= limit).all()
    assert (home - q.double()).abs().max() < 8 * 2.0**-52 * 4
    assert ((forward - want).abs() > limit).any()


@pytest.mark.parametrize("precision", ["float64", "bits"])
def test_interleaved_is_the_permuted_half_split(precision: str) -> None:
    table, q = make_table(8), random_heads((3, 2, 10), torch.bfloat16, 6)
    order = [0, 4, 1, 5, 2, 6, 3, 7, 8, 9]
    position_ids = torch.tensor([3, 999_983, -4])
    split, _ = reference.apply_rotary_qk(q, None, position_ids, table, precision=precision)
    paired, _ = reference.apply_rotary_qk(
        q[..., order], None, position_ids, table, interleaved=True, precision=precision
    )
    assert torch.equal(paired, split[..., order])


def test_position_layouts_agree() -> None:
    table, q = make_table(4), random_heads((2, 3, 1, 4), torch.float32, 7)
    base = torch.tensor([4, 9, 2])
    want, _ = reference.apply_rotary_qk(q, None, base.expand(2, 3).to(torch.int32), table)
    for position_ids in (base, base.view(1, 3)):
        assert torch.equal(reference.apply_rotary_qk(q, None, position_ids, table)[0], want)
    flat, _ = reference.apply_rotary_qk(q.flatten(0, 1), None, base.repeat(2), table)
    assert torch.equal(flat.view(want.shape), want)


def test_axes_take_their_own_positions_and_equal_ones_need_no_axis() -> None:
    table, q = make_table(6), random_heads((2, 1, 6), torch.float32, 8)
    table.axis_ids, table.num_axes = torch.tensor([0, 2, 1], dtype=torch.int32), 3
    axes = torch.tensor([[5, 6], [70, 80], [900, 1000]])
    got, _ = reference.apply_rotary_qk(q, None, axes, table)
    alone = make_table(6)
    for pair, axis in enumerate((0, 2, 1)):
        want, _ = reference.apply_rotary_qk(q, None, axes[axis], alone)
        assert torch.equal(got[..., [pair, pair + 3]], want[..., [pair, pair + 3]])
    same, _ = reference.apply_rotary_qk(q, None, axes[0], table)
    assert torch.equal(same, reference.apply_rotary_qk(q, None, axes[0], alone)[0])


@pytest.mark.parametrize("precision", ["float64", "bits"])
def test_profile_chooses_its_row_and_none_is_nan(precision: str) -> None:
    table = make_table(4, bases=(1e4, 1e6), factors=(1.5, 2.0))
    q = random_heads((2, 2, 1, 6), torch.float32, 9)
    position_ids = torch.tensor([3, 5])
    ids = torch.tensor([[0, 1], [2, -1]], dtype=torch.int32)
    got, _ = reference.apply_rotary_qk(
        q, None, position_ids, table, profile_ids=ids, precision=precision
    )
    for token, base in enumerate((1e4, 1e6)):
        want, _ = reference.apply_rotary_qk(
            q, None, position_ids, make_table(4, (base,), (1.5, 2.0)), precision=precision
        )
        assert torch.equal(got[0, token], want[0, token])
    assert got[1, ..., :4].isnan().all()
    assert torch.equal(got[1, ..., 4:], q[1, ..., 4:].to(got.dtype))
    of_sequence = torch.tensor([1, 0], dtype=torch.int32)
    by_sequence, _ = reference.apply_rotary_qk(
        q, None, position_ids, table, profile_ids=of_sequence, precision=precision
    )
    assert torch.equal(by_sequence[0, 1], got[0, 1])
    one_row, _ = reference.apply_rotary_qk(
        q, None, position_ids, table, profile_ids=ids[:1], precision=precision
    )
    assert torch.equal(one_row[0], got[0])
    assert not one_row[1].isnan().any()


@pytest.mark.parametrize("precision", ["float64", "bits"])
def test_a_default_device_does_not_matter(precision: str) -> None:
    q, position_ids = random_heads((2, 3, 1, 6), torch.float32, 9), torch.tensor([3, 5, 7])
    cos, sin = random_heads((2, 9, 2), torch.float32, 4)
    table = make_table(4)
    calls: list[Callable[[], Any]] = [
        lambda: reference.apply_rotary_qk(q, None, position_ids, table, precision=precision),
        lambda: reference.apply_rotary_cos_sin(
            q, None, cos[:3], sin[:3], rows="half", precision=precision
        ),
        lambda: reference.apply_rotary_cos_sin(
            q, None, cos, sin, position_ids, rows="half", precision=precision
        ),
    ]
    for call in calls:
        want = call()[0]
        with torch.device("meta"):
            got = call()[0]
        assert torch.equal(got, want)


def test_blend_is_the_static_table_of_the_blended_bits() -> None:
    pos_freqs, ramp, factor = [1.0, 31.6227760], [0.25, 1.0], 4.0
    bits = [
        reference.blend_inv_freq_bits(f32.narrow(p, f32.FLOAT32), r, factor)
        for p, r in zip(pos_freqs, ramp, strict=True)
    ]
    # 1/4 * 1/4 + 3/4, and 1/(4 p) exactly the rounded quotient.
    assert bits[0] == 0.8125
    assert bits[1] == f32.div(1.0, 4 * f32.narrow(pos_freqs[1], f32.FLOAT32))
    blended, static = make_table(4), make_table(4)
    static.set_inv_freq(torch.tensor([bits]))
    blended.blend = tuple(
        torch.tensor(values).view(torch.int32) for values in ([pos_freqs], [ramp], [factor])
    )  # type: ignore[assignment]
    q, position_ids = random_heads((2, 1, 4), torch.float32, 10), torch.tensor([7, 99_991])
    for precision in ("float64", "bits"):
        for phase in ("exact", "float32"):
            got, want = (
                reference.apply_rotary_qk(
                    q, None, position_ids, t, phase=phase, precision=precision
                )[0]
                for t in (blended, static)
            )
            assert torch.equal(got, want)
    blended.blend[2].zero_()  # type: ignore[index]
    unblended, _ = reference.apply_rotary_qk(q, None, position_ids, blended)
    assert torch.equal(
        unblended, reference.apply_rotary_qk(q, None, position_ids, make_table(4))[0]
    )


def test_angle_that_overflows_is_nan() -> None:
    table: StandInTable = make_table(2)
    table.set_inv_freq(torch.tensor([[3e38]]))
    q = torch.ones(1, 1, 2)
    for precision in ("float64", "bits"):
        out, _ = reference.apply_rotary_qk(
            q, None, torch.tensor([2]), table, phase="float32", precision=precision
        )
        assert out.isnan().all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"precision": "half"}, RopeScaleValueError, ("precision", "half")),
        ({"phase": "rough"}, RopeScaleValueError, ("phase", "rough")),
        ({"q": torch.ones(4, 4)}, RopeScaleValueError, ("q.shape", "(4, 4)")),
        ({"k": torch.ones(5, 1, 4)}, RopeScaleValueError, ("k.shape", "(5, 1, 4)")),
        ({"q": [1.0]}, RopeScaleTypeError, ("q: ", "list")),
        ({"q": torch.ones(4, 1, 4, device="meta")}, RopeScaleValueError, ("q: ", "meta")),
        ({"table": 3}, RopeScaleTypeError, ("table: ", "int")),
        ({"position_ids": [0]}, RopeScaleTypeError, ("position_ids: ", "list")),
        ({"position_ids": torch.ones(4)}, RopeScaleTypeError, ("position_ids: ", "float32")),
        ({"profile_ids": [0]}, RopeScaleTypeError, ("profile_ids: ", "list")),
        ({"interleaved": "no"}, RopeScaleTypeError, ("interleaved: ", "str")),
        ({"q": torch.ones(4, 1, 2)}, RopeScaleValueError, ("rotary_dim", "got 4")),
        (
            {"q": torch.ones(4, 1, 4).double(), "precision": "bits"},
            RopeScaleTypeError,
            ("q.dtype", "torch.float64"),
        ),
        ({"position_ids": torch.arange(1)}, RopeScaleValueError, ("position_ids", "(1,)")),
        ({"position_ids": torch.arange(3)}, RopeScaleValueError, ("position_ids", "(3,)")),
        (
            {"position_ids": torch.zeros(3, 5).long(), "table": AXES},
            RopeScaleValueError,
            ("position_ids", "(3, 5)"),
        ),
        (
            {"profile_ids": torch.zeros(2, dtype=torch.int32)},
            RopeScaleValueError,
            ("profile_ids", "(2,)"),
        ),
    ],
)
def test_refusals_name_the_argument_and_the_value(
    change: dict[str, object], error: type[Exception], words: tuple[str, str]
) -> None:
    arguments: dict[str, object] = {
        "q": torch.ones(4, 1, 4),
        "k": None,
        "position_ids": torch.arange(4),
        "table": make_table(4),
    }
    with pytest.raises(error) as caught:
        reference.apply_rotary_qk(**{**arguments, **change})  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in words)
