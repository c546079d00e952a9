"""The cases that are timed: shapes, layouts, positions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ropescale_kernels.bench import cases


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_suite_has_cases_and_none_twice(device: str) -> None:
    for name in cases.SUITES:
        found = cases.suite([name, name], device)
        assert len(found) == len(set(found)) >= 2, name
        for case in found:
            assert 0 < case.rotary_dim <= case.head_dim
            assert case.context >= case.seqlen


def test_suites_of_a_gpu_are_larger() -> None:
    most = {d: max(c.tokens for c in cases.suite(["tokens"], d)) for d in ("cpu", "cuda")}
    assert most == {"cpu": 4096, "cuda": 131072}


def test_bytes_are_those_of_q_and_k_read_and_written() -> None:
    case = cases.prefill("llama-3.1-70b-tp8", "float32", 7)
    inputs = cases.make_inputs(case)
    assert case.bytes == 2 * (inputs.q.nbytes + inputs.k.nbytes)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_layouts_hold_the_same_values_in_other_places(dtype: str) -> None:
    case = cases.prefill("llama-3.1-8b", dtype, 5)
    plain, heads, packed = (cases.make_inputs(replace(case, layout=name)) for name in cases.LAYOUTS)
    for other in (heads, packed):
        assert torch.equal(other.q, plain.q)
        assert torch.equal(other.k, plain.k)
    assert plain.q.is_contiguous()
    assert heads.q.transpose(1, 2).is_contiguous()
    assert packed.q.stride() == (5 * 48 * 128, 48 * 128, 128, 1)
    assert packed.k.data_ptr() - packed.q.data_ptr() == 32 * 128 * packed.q.element_size()


def test_positions_end_the_window_or_spread_over_it() -> None:
    end = cases.make_inputs(cases.prefill("llama-3.1-70b-tp8", tokens=3))
    assert end.position_ids.tolist() == [[32765, 32766, 32767]]
    (spread,) = [c for c in cases.suite(["context"]) if c.context == 4096]
    inputs = cases.make_inputs(spread)
    assert inputs.position_ids.shape == (64, 1)
    assert inputs.position_ids[[0, -1], 0].tolist() == [63, 4095]


def test_a_table_has_the_rows_of_the_window_or_of_the_positions_alone() -> None:
    case = cases.prefill("llama-3.1-70b-tp8", tokens=3)
    inputs = cases.make_inputs(case)
    assert inputs.rows.tolist() == list(range(case.context))
    assert inputs.rows[inputs.row_ids].equal(inputs.position_ids)
    positions = torch.tensor([[10**7, 5, 10**6]])
    inputs = cases.make_inputs(case, positions=positions)
    assert inputs.position_ids.equal(positions)
    assert len(inputs.rows) == 3
    assert inputs.rows[inputs.row_ids].equal(positions)


def test_names_tell_the_cases_of_all_suites_apart() -> None:
    found = cases.suite(cases.SUITES)
    names = {(c.name, c.dtype, c.tokens, c.options) for c in found}
    assert len(names) == len(found)
