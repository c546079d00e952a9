"""RotaryTable: what its words are, what an update leaves alone, and its dynamic twins."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.pairwise import pairwise

import ropescale_kernels as rk
from ropescale_kernels import bounds, reference
from tools.contract import draws

SameBits = Callable[..., None]
HALF = 16


def yarn(**options: Any) -> rk.RopeScaling:
    return draws.yarn(2 * HALF, **({"original_max_position_embeddings": 4096} | options))


def longrope() -> rk.RopeScaling:
    return rk.RopeScaling.longrope(
        rotary_dim=2 * HALF,
        rope_theta=1e4,
        short_factor=[1.0 + 0.01 * j for j in range(HALF)],
        long_factor=[1.5 + 0.5 * j for j in range(HALF)],
        original_max_position_embeddings=4096,
        factor=8.0,
    )


def rules() -> dict[str, rk.RopeScaling]:
    base: dict[str, Any] = {"rotary_dim": 2 * HALF, "rope_theta": 1e4}
    return {
        "yarn": yarn(),
        "dynamic_yarn": rk.RopeScaling.dynamic_yarn(
            **base, original_max_position_embeddings=4096, mscale=0.7, mscale_all_dim=0.4
        ),
        "dynamic_ntk": rk.RopeScaling.dynamic_ntk(**base, factor=4.0, max_position_embeddings=4096),
        "longrope": longrope(),
        "default": rk.RopeScaling.default(**base),
    }


def heads(num_tokens: int, seed: int = 0) -> torch.Tensor:
    return draws.draw(num_tokens, 2, 2 * HALF, seed=seed)


POSITIONS = torch.tensor([0, 1, 7919, 2**24 + 1, 2**31 - 1, -12345])


@pytest.mark.parametrize(
    ("rule", "phase", "magnitude"),
    pairwise(list(rules()), ["exact", "float32"], ["both", "query", "none"]),
)
def test_an_updated_table_is_the_static_table_at_that_length(
    impl: str, rule: str, phase: str, magnitude: str, same_bits: SameBits
) -> None:
    scaling = rules()[rule]
    table = rk.RotaryTable(scaling, dynamic=True, magnitude=magnitude)
    q, k = heads(len(POSITIONS)), heads(len(POSITIONS), 1)
    call = (q, k, POSITIONS)
    before = rk.apply_rotary_qk(*call, table, phase=phase, impl=impl)
    unchanged = rk.RotaryTable(scaling, magnitude=magnitude)
    same_bits(before, rk.apply_rotary_qk(*call, unchanged, phase=phase, impl=impl))
    # Up and down again, past the pretraining length and below it.
    for length in (100_003, 1, 4096, 4097, 5, 1_000_000):
        table.update_(torch.tensor([length]))
        static = rk.RotaryTable(scaling.at_seq_len(length), magnitude=magnitude)
        got = rk.apply_rotary_qk(*call, table, phase=phase, impl=impl)
        same_bits(got, rk.apply_rotary_qk(*call, static, phase=phase, impl=impl))


@pytest.mark.parametrize("length_dtype", [torch.int32, torch.int64])
def test_an_update_keeps_memory_and_profiles_apart(
    length_dtype: torch.dtype, same_bits: SameBits
) -> None:
    scalings = list(rules().values())
    table = rk.RotaryTable([*scalings, scalings[0]], dynamic=True)
    lengths = [9000, 20000, 50000, 70000, 123, 300]
    pointers = [None if x is None else x.data_ptr() for x in table.state]
    table.update_(torch.tensor(lengths, dtype=length_dtype))
    assert [None if x is None else x.data_ptr() for x in table.state] == pointers
    for slot, (scaling, length) in enumerate(zip([*scalings, scalings[0]], lengths, strict=True)):
        one = rk.RotaryTable(scaling.at_seq_len(length))
        ids = torch.full((len(POSITIONS),), slot, dtype=torch.int32)
        q = heads(len(POSITIONS))
        got = rk.apply_rotary_qk(q, None, POSITIONS, table, profile_ids=ids)[0]
        same_bits(got, rk.apply_rotary_qk(q, None, POSITIONS, one)[0])


def test_all_state_is_integer_and_knows_no_length() -> None:
    table = rk.RotaryTable([yarn(), yarn(factor=8.0)], dynamic=True)
    held = [x for x in table.state if x is not None]
    assert {x.dtype for x in held} == {torch.int32}
    assert sum(x.numel() for x in held) == 2 * (2 * HALF + HALF + 2 + 2 * HALF + 1)


def test_magnitude_sets_the_two_factors() -> None:
    scaling = yarn(attention_factor=1.3)
    single = torch.tensor(1.3, dtype=torch.float64)
    want: dict[str, tuple[Any, Any]] = {
        "both": (single, single),
        "query": (single * single, 1.0),
        "none": (1.0, 1.0),
    }
    for magnitude, factors in want.items():
        bits = rk.RotaryTable(scaling, magnitude=magnitude).attention_factor_bits
        got = bits.view(torch.float32)[0].tolist()
        assert got == [torch.tensor(float(x), dtype=torch.float32).item() for x in factors]


def test_query_magnitude_gives_the_same_logits_within_the_bounds(impl: str) -> None:
    q, k = heads(len(POSITIONS)), heads(len(POSITIONS), 1)
    factor = 1.3
    logits = []
    for magnitude in ("both", "query"):
        table = rk.RotaryTable(yarn(attention_factor=factor), magnitude=magnitude)
        q_out, k_out = rk.apply_rotary_qk(q, k, POSITIONS, table, impl=impl)
        assert k_out is not None
        logits.append((q_out.double() * k_out.double()).sum(-1))
    # An output errs by at most e (|x0| + |x1|) of its own factor, and a product by both of those;
    # factor^2 itself is rounded to float32 once. Second-order terms are below a thousandth.
    size = (pair_sums(q) * pair_sums(k)).sum(-1) * factor**2
    allowed = size * (2 * 2 * bounds.ROTATION_REL + 2 * 2.0**-24) * 1.001 * 2
    assert ((logits[0] - logits[1]).abs() <= allowed).all()


def pair_sums(x: torch.Tensor) -> torch.Tensor:
    return x.double().abs()[..., :HALF] + x.double().abs()[..., HALF:]


def test_float64_frequencies_keep_their_own_bits(impl: str) -> None:
    inv_freq = 1e4 ** (-torch.arange(HALF, dtype=torch.float64) / HALF) * (1 + 2.0**-40)
    table = rk.RotaryTable.from_inv_freq(inv_freq)
    joined = [
        (hi & 0xFFFFFFFF) << 32 | (lo & 0xFFFFFFFF) for lo, hi in table.turns_per_token[0].tolist()
    ]
    assert joined == [reference.turns_from_float64(x) for x in inv_freq.tolist()]
    single = rk.RotaryTable.from_inv_freq(inv_freq.float())
    assert not torch.equal(single.turns_per_token, table.turns_per_token)
    assert torch.equal(single.inv_freq_bits, table.inv_freq_bits)
    q, positions = heads(3), torch.tensor([2**31 - 1, 2**34, -(2**33) - 1])
    got = rk.apply_rotary_qk(q, None, positions, table, impl=impl)[0]
    truth = reference.apply_rotary_qk(q, None, positions, table)[0]
    x0, x1 = q.chunk(2, -1)
    allowed = bounds.rotation_bound(x0, x1, 1.0, torch.float32)
    for y, want in zip(got.chunk(2, -1), truth.chunk(2, -1), strict=True):
        assert ((y - want).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wrapping_negative_and_zero_frequencies(
    exact_impl: str, dtype: torch.dtype, same_bits: SameBits
) -> None:
    values = [2 * math.pi, 7.0, 1e6, -0.5, -7.0, 0.0, -0.0, 1e-30, 2.0**-149, 3.0e38]
    table = rk.RotaryTable.from_inv_freq(torch.tensor(values, dtype=dtype))
    q = heads(len(POSITIONS))
    for phase in ("exact", "float32"):
        call = (q, None, POSITIONS, table)
        want = rk.apply_rotary_qk(*call, impl="reference", phase=phase)[0]
        same_bits(rk.apply_rotary_qk(*call, impl=exact_impl, phase=phase)[0], want)
    # A negative frequency turns the other way, and zero does not turn.
    plus, minus = (
        rk.RotaryTable.from_inv_freq(torch.tensor([sign * 0.5, 0.0], dtype=dtype))
        for sign in (1.0, -1.0)
    )
    got = rk.apply_rotary_qk(q, None, POSITIONS, minus, impl=exact_impl)[0]
    same_bits(got, rk.apply_rotary_qk(q, None, -POSITIONS, plus, impl=exact_impl)[0])
    assert torch.equal(got[..., 1], q[..., 1])
    assert torch.equal(got[..., 3], q[..., 3])


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_default_device_leaves_given_frequencies_where_they_are(interleaved: bool) -> None:
    inv_freq = rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4).inv_freq
    sections = {"mrope_section": [12, 10, 10], "mrope_interleaved": interleaved}
    want = rk.RotaryTable.from_inv_freq(inv_freq, 1.5, **sections)
    with torch.device("meta"):
        got = rk.RotaryTable.from_inv_freq(inv_freq, 1.5, **sections)
        nowhere = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4, **sections))
        moved = nowhere.to("cpu")
    assert nowhere.device.type == "meta"
    for name, x in want.tensors._asdict().items():
        assert (x is None) == (getattr(got.tensors, name) is None)
        assert x is None or torch.equal(x, getattr(got.tensors, name))
    assert want.axis_ids is not None
    assert moved.axis_ids is not None
    assert torch.equal(moved.axis_ids, want.axis_ids)


def test_to_gives_itself_or_a_copy() -> None:
    table = rk.RotaryTable([yarn(), longrope()], dynamic=True)
    assert table.to("cpu") is table
    moved = table.to("meta")
    assert moved.device.type == "meta"
    assert table.device.type == "cpu"
    assert all(x is None or x.is_meta for x in moved.state)
    assert all(x is None or x.device.type == "cpu" for x in table.state)
