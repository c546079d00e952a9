"""RotaryTable: what it refuses, what it holds, and what `update_` changes."""

from __future__ import annotations

from typing import Any

import mpmath
import pytest
import torch

import ropescale_kernels as rk

YARN: dict[str, Any] = {
    "rope_theta": 1e6,
    "factor": 4.0,
    "original_max_position_embeddings": 32768,
}
SCALING = rk.RopeScaling.yarn(rotary_dim=64, **YARN)
DEFAULT = rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4)
T, V = rk.RopeScaleTypeError, rk.RopeScaleValueError
FREQUENCIES = torch.tensor([1.0, 0.1, 1e-3, 1e-6])


@pytest.mark.parametrize(
    ("argument", "kind", "words"),
    [
        (None, T, ("scaling:", "NoneType")),
        ({"rope_theta": 1e4}, T, ("scaling:", "dict")),
        ("yarn", T, ("scaling:", "str")),
        ([SCALING, 3], T, ("scaling[1]:", "a RopeScaling", "int")),
        ([], V, ("scaling:", "at least one")),
        (
            [SCALING, rk.RopeScaling.default(rotary_dim=32, rope_theta=1e4)],
            V,
            ("scaling[1].rotary_dim:", "64", "32"),
        ),
        (
            [
                SCALING,
                rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4, mrope_section=[8, 12, 12]),
            ],
            V,
            ("scaling[1].mrope_section:", "8, 12, 12"),
        ),
    ],
)
def test_refused_scalings(argument: Any, kind: type[Exception], words: tuple[str, ...]) -> None:
    with pytest.raises(kind) as raised:
        rk.RotaryTable(argument)
    for word in words:
        assert word in str(raised.value)


def test_refused_devices_and_flags() -> None:
    for build in (rk.RotaryTable, rk.RotaryEmbedding):
        with pytest.raises(V, match="device: expected a device such as 'cpu' or 'cuda:0', got 'x'"):
            build(SCALING, device="x")
        with pytest.raises(T, match="dynamic: expected a bool, got str"):
            build(SCALING, dynamic="yes")  # type: ignore[arg-type]
    table = rk.RotaryTable(SCALING)
    with pytest.raises(T, match=r"device: expected a device .* got torch\.float16"):
        table.to(torch.float16)  # type: ignore[arg-type]
    with pytest.raises(T, match="interleaved: expected a bool, got str"):
        rk.RotaryEmbedding(SCALING, interleaved="no")  # type: ignore[arg-type]


def test_a_factor_whose_square_is_no_float32_scales_no_query() -> None:
    large = rk.RopeScaling.yarn(
        rotary_dim=64, rope_theta=1e4, factor=4.0, original_max_position_embeddings=64,
        attention_factor=1e30,
    )  # fmt: skip
    assert rk.RotaryTable([SCALING, large]).num_profiles == 2
    with pytest.raises(V, match=r"scaling\[1\]\.attention_factor: .* its square, .* got 1e\+30"):
        rk.RotaryTable([SCALING, large], magnitude="query")


def test_refused_magnitude() -> None:
    with pytest.raises(V, match="magnitude: expected one of 'both', 'query', 'none', got twice"):
        rk.RotaryTable(SCALING, magnitude="twice")


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"inv_freq": [1.0]}, T, ("inv_freq:", "list")),
        ({"inv_freq": FREQUENCIES.half()}, T, ("inv_freq:", "float16", "already lost")),
        ({"inv_freq": FREQUENCIES.bfloat16()}, T, ("inv_freq:", "bfloat16")),
        ({"inv_freq": FREQUENCIES.to_sparse()}, T, ("inv_freq:", "dense", "sparse_coo")),
        ({"inv_freq": FREQUENCIES[None]}, V, ("inv_freq:", "(1, 4)")),
        ({"inv_freq": FREQUENCIES[:0]}, V, ("inv_freq:", "(0,)")),
        ({"inv_freq": torch.ones(257)}, V, ("inv_freq:", "(257,)")),
        ({"inv_freq": torch.tensor([1.0, float("nan")])}, V, ("inv_freq[1]:", "nan")),
        ({"inv_freq": torch.tensor([float("inf")])}, V, ("inv_freq[0]:", "inf")),
        ({"attention_factor": float("nan")}, V, ("attention_factor:", "nan")),
        ({"attention_factor": float("inf")}, V, ("attention_factor:", "inf")),
        ({"attention_factor": -1.0}, V, ("attention_factor:", "-1.0")),
        ({"attention_factor": 0.0}, V, ("attention_factor:", "0.0")),
        ({"attention_factor": torch.tensor(1)}, T, ("attention_factor:", "int64")),
        ({"attention_factor": torch.ones(2)}, V, ("attention_factor:", "(2,)")),
        ({"attention_factor": torch.tensor(0.0)}, V, ("attention_factor:", "0.0")),
        ({"attention_factor": True}, T, ("attention_factor:", "bool")),
        ({"attention_factor": 1e-50}, V, ("attention_factor:", "float32 can hold", "1e-50")),
        ({"attention_factor": 1e300}, V, ("attention_factor:", "float32 can hold", "1e+300")),
        (
            {"attention_factor": 1e30, "magnitude": "query"},
            V,
            ("attention_factor:", "its square", "1e+30"),
        ),
        (
            {"attention_factor": torch.tensor(1.0, device="meta")},
            V,
            ("attention_factor:", "a tensor with a value", "meta"),
        ),
        ({"device": "gpu"}, V, ("device:", "'cuda:0'", "'gpu'")),
        ({"mrope_interleaved": 1}, T, ("mrope_interleaved:", "a bool", "int")),
        ({"mrope_section": [1, 2]}, V, ("mrope_section:", "4", "[1, 2]")),
        ({"mrope_section": [1, 1.5, 1.5]}, T, ("mrope_section:", "1.5")),
        ({"mrope_section": [-1, 5]}, V, ("mrope_section:", "[-1, 5]")),
        ({"mrope_section": [0, 4], "mrope_interleaved": True}, V, ("mrope_section:", "[0, 4]")),
    ],
)
def test_refused_inv_freq(
    changes: dict[str, Any], kind: type[Exception], words: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as raised:
        rk.RotaryTable.from_inv_freq(**({"inv_freq": FREQUENCIES} | changes))
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("seq_lens", "kind", "words"),
    [
        ([5, 5], T, ("seq_lens:", "list")),
        (torch.tensor([5.0, 5.0]), T, ("seq_lens:", "float32")),
        (torch.tensor([5]), V, ("seq_lens:", "(2,)", "(1,)")),
        (torch.tensor([5, 5], device="meta"), V, ("seq_lens:", "cpu", "meta")),
    ],
)
def test_refused_lengths(seq_lens: Any, kind: type[Exception], words: tuple[str, ...]) -> None:
    table = rk.RotaryTable([SCALING, DEFAULT], dynamic=True)
    before = [None if x is None else x.clone() for x in table.state]
    with pytest.raises(kind) as raised:
        table.update_(seq_lens)
    for word in words:
        assert word in str(raised.value)
    for x, was in zip(table.state, before, strict=True):
        assert x is was or torch.equal(x, was)  # type: ignore[arg-type]


def test_a_static_table_is_not_updated() -> None:
    with pytest.raises(V, match="table: expected a dynamic table, got a static one"):
        rk.RotaryTable(SCALING).update_(torch.tensor([5]))


LONGROPE = rk.RopeScaling.longrope(
    rotary_dim=64,
    rope_theta=1e4,
    original_max_position_embeddings=4096,
    factor=32.0,
    short_factor=[1.0 + j / 64 for j in range(32)],
    long_factor=[2.0 + j for j in range(32)],
)
DYNAMIC_NTK = rk.RopeScaling.dynamic_ntk(
    rotary_dim=64, rope_theta=1e4, factor=2.0, max_position_embeddings=4096
)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_dynamic_table_equals_the_static_one_at_each_length(dtype: torch.dtype) -> None:
    """Blends and rules that are none, profiles that share a scaling, and one without lengths."""
    scalings = [SCALING, LONGROPE, DEFAULT, DYNAMIC_NTK, SCALING, LONGROPE]
    table = rk.RotaryTable(scalings, dynamic=True)
    state = [None if x is None else x.data_ptr() for x in table.state]
    q = torch.randn(6, 3, 64)
    ids = torch.arange(6, dtype=torch.int32)
    positions = torch.tensor([3, 70_001, 5, 99_991, 2**31 - 1, -17])
    for lengths in ([100, 100, 100, 100, 100, 5000], [40_000, 5000, 7, 9000, 123_457, 4096]):
        table.update_(torch.tensor(lengths, dtype=dtype))
        static = rk.RotaryTable(
            [
                s.at_seq_len(n) if s.depends_on_seq_len else s
                for s, n in zip(scalings, lengths, strict=True)
            ]
        )
        for phase in ("exact", "float32"):
            got, want = (
                rk.apply_rotary_qk(q, None, positions, t, profile_ids=ids, phase=phase)[0]
                for t in (table, static)
            )
            assert torch.equal(got, want)
    # Nothing was replaced: a captured graph would still read the same memory.
    assert state == [None if x is None else x.data_ptr() for x in table.state]


def test_magnitudes_are_rounded_once() -> None:
    factor = SCALING.attention_factor
    want = {"both": (factor, factor), "query": (factor * factor, 1.0), "none": (1.0, 1.0)}
    for magnitude, pair in want.items():
        table = rk.RotaryTable(SCALING, magnitude=magnitude)
        got = table.attention_factor_bits.view(torch.float32)[0]
        assert torch.equal(got, torch.tensor(pair, dtype=torch.float64).float())


def test_float64_frequencies_give_steps_of_their_own() -> None:
    """The step of a float64 frequency is its own, not that of its float32 rounding."""
    frequency = torch.tensor([0.1, 7.0, -0.3, 0.0], dtype=torch.float64)
    table = rk.RotaryTable.from_inv_freq(frequency)
    with mpmath.workprec(300):
        for value, words in zip(frequency.tolist(), table.turns_per_token[0].tolist(), strict=True):
            want = int(mpmath.nint(mpmath.mpf(value) * 2**64 / (2 * mpmath.pi))) % 2**64
            assert (words[0] % 2**32) | (words[1] % 2**32) << 32 == want
    single = rk.RotaryTable.from_inv_freq(frequency.float())
    assert not torch.equal(single.turns_per_token[0, 0], table.turns_per_token[0, 0])
    assert torch.equal(single.inv_freq_bits, table.inv_freq_bits)


def test_axes_in_runs_and_in_turns() -> None:
    def axes(section: list[int], interleaved: bool) -> list[int]:
        table = rk.RotaryTable.from_inv_freq(
            torch.ones(8), mrope_section=section, mrope_interleaved=interleaved
        )
        assert table.axis_ids is not None
        return table.axis_ids.tolist()

    assert axes([2, 3, 3], False) == [0, 0, 1, 1, 1, 2, 2, 2]
    assert axes([4, 2, 2], True) == [0, 1, 2, 0, 1, 2, 0, 0]


def test_state_is_integer_and_moves_whole() -> None:
    table = rk.RotaryTable([SCALING, DEFAULT], dynamic=True)
    assert all(x is None or x.dtype == torch.int32 for x in table.state)
    assert table.to("cpu") is table
    moved = table.to("meta")
    assert all(x is None or x.is_meta for x in moved.state)
    assert table.device.type == "cpu"
    assert "yarn, default" in repr(table)


def test_a_section_may_be_empty() -> None:
    table = rk.RotaryTable.from_inv_freq(torch.rand(32), mrope_section=[16, 16, 0])
    q, positions = torch.randn(4, 2, 64), torch.arange(12).view(3, 4)
    got = rk.apply_rotary_qk(q, None, positions, table)[0]
    assert torch.equal(got, rk.apply_rotary_qk(q, None, positions, table, impl="reference")[0])
