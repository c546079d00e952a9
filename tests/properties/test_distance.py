"""Phases are integers, so what a rotation does depends on a distance alone, exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ropescale_kernels as rk
from ropescale_kernels import bounds, reference
from tools.contract.draws import yarn

INT64 = st.integers(-(2**63), 2**63 - 1)
STEP = st.integers(0, 2**64 - 1)


@settings(max_examples=200, deadline=None)
@given(m=INT64, n=INT64, step=STEP)
def test_the_phase_of_a_sum_is_the_sum_of_phases_but_for_the_cut_word(
    m: int, n: int, step: int
) -> None:
    """64-bit phases add exactly; their top 32 bits carry at most one unit from below."""
    total = (m + n + 2**63) % 2**64 - 2**63
    carry = (
        reference.phase_from_position(total, step)
        - reference.phase_from_position(m, step)
        - reference.phase_from_position(n, step)
    ) % 2**32
    assert carry in (0, 1)


HALF = 32
SCALING = yarn(2 * HALF)


def pair_sums(x: torch.Tensor) -> torch.Tensor:
    return x.double().abs()[..., :HALF] + x.double().abs()[..., HALF:]


@pytest.mark.parametrize("shift", [1, 7919, 2**24 + 1, 2**31 - 1, 2**33 - 1, -(2**33) - 3])
@pytest.mark.parametrize("distance", [0, 1, 4095, 999_983])
def test_logits_do_not_see_a_common_shift(impl: str, shift: int, distance: int) -> None:
    table = rk.RotaryTable(SCALING)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 2 * HALF, generator=generator)
    logits = []
    for start in (0, shift):
        q_out = rk.apply_rotary_qk(
            q[None], None, torch.tensor([start + distance]), table, impl=impl
        )
        k_out = rk.apply_rotary_qk(k[None], None, torch.tensor([start]), table, impl=impl)
        logits.append((q_out[0].double() * k_out[0].double()).sum())
    # Each output errs by at most ROTATION_REL of its pair, so a logit by twice that of the product
    # of both sums (two channels a pair), and two logits are compared; 1.001 is the second order.
    size = (pair_sums(q) * pair_sums(k)).sum() * table.scalings[0].attention_factor ** 2
    allowed = 2 * 2 * 2 * bounds.ROTATION_REL * size * 1.001
    assert (logits[0] - logits[1]).abs() <= allowed


def test_a_period_of_the_phase_is_invisible(exact_impl: str) -> None:
    """A frequency of 1/1024 of a turn brings every bit back after 1024 tokens."""
    table = rk.RotaryTable.from_inv_freq(torch.ones(HALF))
    table.turns_per_token.copy_(
        torch.tensor([0, 1 << 22], dtype=torch.int32).expand_as(table.turns_per_token)
    )
    q = torch.randn(9, 2, 2 * HALF, generator=torch.Generator().manual_seed(1))
    positions = torch.arange(9) * 101
    want = rk.apply_rotary_qk(q, None, positions, table, impl=exact_impl)[0]
    for turns in (1, -3, 2**21 + 1, 2**50 + 7):
        later = positions + 1024 * turns
        assert torch.equal(rk.apply_rotary_qk(q, None, later, table, impl=exact_impl)[0], want)
    half_way = rk.apply_rotary_qk(q, None, positions + 512, table, impl=exact_impl)[0]
    assert torch.equal(half_way, -want)
