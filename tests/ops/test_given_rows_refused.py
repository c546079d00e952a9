"""Given cos and sin whose arguments leave one reading, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.rows import differ, half_rows

import ropescale_kernels as rk
from tools.contract.draws import draw

SameBits = Callable[..., None]
V = rk.RopeScaleValueError


@pytest.mark.parametrize(
    ("width", "options", "order"),
    [
        (64, {}, "doubled"),
        (34, {}, "doubled"),
        (16, {"rotary_dim": 32}, "half"),
        (16, {"rotary_dim": 32, "interleaved": True}, "half"),
        (32, {"rotary_dim": 64}, "half"),
        (32, {"rotary_dim": 32}, "doubled"),
    ],
)
def test_the_width_decides_where_it_leaves_one_order(
    width: int, options: dict[str, Any], order: str, same_bits: SameBits
) -> None:
    q, (cos, sin) = draw(5, 3, 64), half_rows(5, width)
    got = rk.apply_rotary_cos_sin(q, None, cos, sin, **options)
    same_bits(got, rk.apply_rotary_cos_sin(q, None, cos, sin, rows=order, **options))
    other = {"half": "doubled", "doubled": "repeated"}[order]
    wrong = rk.apply_rotary_cos_sin(
        q, None, cos, sin, rows=other, interleaved=options.get("interleaved", False)
    )
    assert differ(wrong, got)


# The shape of cos for q (2, 5, 3, 64), the options, and words of the message.
REFUSED: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[str, ...]]] = {
    "half of all or doubled of half": (
        (2, 5, 32),
        {},
        (
            "rows:",
            "(2, 5, 32)",
            "'half' (rotary_dim 64) or 'doubled' (rotary_dim 32), got None",
            "torch.cat((x, x), -1) 'doubled'",
            "repeat_interleave(2, -1) 'repeated'",
        ),
    ),
    "three readings": (
        (5, 32),
        {"interleaved": True},
        ("rows:", "'half' (rotary_dim 64), 'doubled' (rotary_dim 32) or 'repeated'"),
    ),
    "doubled or repeated": (
        (5, 64),
        {"interleaved": True},
        ("rows:", "(5, 64)", "'doubled' (rotary_dim 64) or 'repeated' (rotary_dim 64), got None"),
    ),
    "doubled or repeated, partial": (
        (5, 32),
        {"interleaved": True, "rotary_dim": 32},
        ("rows:", "'doubled' (rotary_dim 32) or 'repeated' (rotary_dim 32), got None"),
    ),
    "odd": ((5, 15), {}, ("rows:", "'half' (rotary_dim 30), got None")),
    "too wide": ((5, 66), {}, ("cos:", "at most head_dim = 64", "(5, 66)")),
    "odd and wide": ((5, 33), {}, ("cos:", "head_dim = 64", "(5, 33)")),
    "no width": ((5, 0), {}, ("cos:", "(5, 0)")),
    "too wide for half": ((5, 34), {"rows": "half"}, ("cos:", "at most 32", "(5, 34)")),
    "odd for doubled": ((5, 33), {"rows": "doubled"}, ("cos:", "even width", "(5, 33)")),
    "other rotary_dim": (
        (5, 32),
        {"rotary_dim": 16},
        ("cos:", "a width of 8 or 16 for rotary_dim 16", "(5, 32)"),
    ),
    "rows and rotary_dim": (
        (5, 32),
        {"rows": "half", "rotary_dim": 32},
        ("rotary_dim:", "64 for 'half' rows of cos of shape (5, 32)", "got 32"),
    ),
    "no order": ((5, 32), {"rows": "neox"}, ("rows:", "'half', 'doubled' or 'repeated'", "neox")),
    "shape": (
        (3, 5, 32),
        {"rows": "half"},
        ("cos:", "(2, 5, 32)", "(5, 32)", "got shape (3, 5, 3"),
    ),
    "heads in the middle": ((2, 3, 5, 32), {"rows": "half"}, ("cos:", "got shape (2, 3, 5, 32)")),
    "axes without sections": (
        (3, 2, 5, 32),
        {"rows": "half"},
        ("cos:", "got shape (3, 2, 5, 32)", "need mrope_section"),
    ),
    "other axes": (
        (3, 2, 5, 32),
        {"rows": "half", "mrope_section": [16, 16]},
        ("cos:", "a leading axis of 2", "(3, 2, 5, 32)"),
    ),
    "axes or sequences": (
        (2, 5, 32),
        {"rows": "half", "mrope_section": [16, 16]},
        ("cos:", "2 axes before (batch, seqlen, width)", "(2, 5, 32)"),
    ),
    "sections of other pairs": (
        (3, 2, 5, 32),
        {"rows": "half", "mrope_section": [16, 8, 9]},
        ("mrope_section:", "rotary_dim // 2 = 32", "[16, 8, 9]"),
    ),
    "many axes": (
        (5, 32),
        {"rows": "half", "mrope_section": [0] * 256 + [32]},
        ("mrope_section:", "at most 256 axes", "257"),
    ),
    "axes and indices": (
        (9, 32),
        {"rows": "half", "mrope_section": [16, 16], "position_ids": torch.arange(5)},
        ("mrope_section:", "None where position_ids are row indices", "cos[position_ids]"),
    ),
    "indices and heads": (
        (9, 1, 32),
        {"rows": "half", "position_ids": torch.arange(5)},
        ("cos:", "(num_rows, width)", "(9, 1, 32)"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_rows(case: str) -> None:
    shape, options, words = REFUSED[case]
    cos = torch.ones(shape)
    with pytest.raises(V) as raised:
        rk.apply_rotary_cos_sin(torch.ones(2, 5, 3, 64), None, cos, cos, **options)
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": 2}, "rows: expected a str or None, got int"),
        ({"rows": "half", "mrope_section": 3}, "mrope_section: expected a list of int, got int"),
        ({"rows": "half", "mrope_section": [16.0, 16]}, "mrope_section: expected a list of int"),
        ({"rows": "half", "mrope_interleaved": 1}, "mrope_interleaved: expected a bool, got int"),
    ],
)
def test_kinds_of_arguments(options: dict[str, Any], words: str) -> None:
    cos = torch.ones(5, 32)
    with pytest.raises(rk.RopeScaleTypeError, match=words):
        rk.apply_rotary_cos_sin(torch.ones(5, 3, 64), None, cos, cos, **options)


def test_as_many_sequences_as_positions_leave_two_readings() -> None:
    cos, options = torch.ones(5, 1, 1, 32), {"rows": "half"}
    with pytest.raises(V, match=r"cos: expected a shape that tells .* 5 each.*\(5, 1, 1, 32\)"):
        rk.apply_rotary_cos_sin(torch.ones(5, 5, 3, 64), None, cos, cos, **options)
    rk.apply_rotary_cos_sin(torch.ones(1, 5, 3, 64), None, cos, cos, **options)
    rk.apply_rotary_cos_sin(torch.ones(5, 1, 3, 64), None, cos, cos, **options)


def test_an_order_of_sections_without_sections_is_refused() -> None:
    q, cos = draw(5, 2, 64), draw(5, 32)
    message = "mrope_interleaved: expected False without mrope_section, got True"
    with pytest.raises(rk.RopeScaleValueError, match=message):
        rk.apply_rotary_cos_sin(q, None, cos, cos, rows="half", mrope_interleaved=True)
    with pytest.raises(rk.RopeScaleValueError, match=message):
        rk.RotaryTable.from_inv_freq(torch.ones(4), mrope_interleaved=True)
