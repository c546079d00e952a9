"""From a case to rows: what is left out, what is set against what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ropescale_kernels.bench import baselines, cases, clocks, measure, timing
from ropescale_kernels.bench.baselines._baseline import Baseline, Call
from ropescale_kernels.bench.report import Row

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("small_cache")
CASE = cases.prefill("glm-4-9b", "float32", 5)


def run(
    case: cases.Case, names: tuple[str, ...] = ("unfused", "transformers")
) -> tuple[dict[tuple[str, str], Row], dict[str, list[str]]]:
    found, _ = measure.chosen(names, CPU)
    rows, left_out = measure.measure(
        case, found, device=CPU, clock=clocks.clock_of(CPU), seconds=0.01
    )
    return {(row.entry, row.cache): row for row in rows}, left_out


def played(times: dict[str, float]) -> Callable[..., dict[str, timing.Timing]]:
    def interleave(calls: dict[str, object], **_: object) -> dict[str, timing.Timing]:
        return {name: timing.Timing((times.get(name, 10.0),) * 5) for name in calls}

    return interleave


def test_every_way_is_timed_hot_and_flushed() -> None:
    rows, left_out = run(CASE)
    assert left_out == {}
    names = [
        "copy",
        "clone",
        "ours, in place",
        "ours, out=",
        "ours",
        "unfused torch ops",
        "Transformers eager",
    ]
    assert list(rows) == [(name, cache) for cache in ("hot", "flushed") for name in names]
    for row in rows.values():
        assert 0 < row.p20 <= row.p50 <= row.p80
        assert 0 < row.x_copy_p20 <= row.x_copy <= row.x_copy_p80
        assert (row.error is None) == (row.entry in ("copy", "clone"))
        assert row.gb_per_s == pytest.approx(row.bytes / row.p50 / 1e3)


def test_options_are_timed_where_the_case_asks() -> None:
    rows, _ = run(replace(CASE, options=True), ())
    assert {name for name, _ in rows} >= {b.name for b in baselines.OPTIONS}


def test_ratios_are_against_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {
        "copy": 4.0,
        "clone": 5.0,
        "ours": 10.0,
        "ours, in place": 8.0,
        "unfused torch ops": 60.0,
        "Transformers eager": 50.0,
        "torch.compile": 30.0,
        "torch.compile, one graph": 20.0,
        "torch.compile, dynamic": 40.0,
    }
    monkeypatch.setattr(measure, "interleave", played(times))
    monkeypatch.setattr("torch.compile", lambda function, **_: function)
    rows, _ = run(CASE, ("unfused", "transformers", "compile"))
    ours, in_place = rows["ours", "hot"], rows["ours, in place", "hot"]
    assert (ours.x_copy, in_place.x_copy) == (2.0, 2.0)
    assert (ours.speedup_eager, ours.speedup_compile) == (5.0, 2.0)
    assert (ours.best, ours.speedup_best) == ("torch.compile, one graph", 2.0)
    assert rows["torch.compile", "hot"].x_copy == 6.0


def test_without_others_there_is_no_ratio_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "interleave", played({}))
    rows, _ = run(CASE, ())
    row = rows["ours", "hot"]
    assert (row.speedup_eager, row.speedup_compile, row.best, row.speedup_best) == (None,) * 4


def test_a_wrong_answer_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(inputs: cases.Inputs) -> Call:
        return Call(inputs, lambda q, k: lambda: None, lambda: (inputs.q, inputs.k))

    wrong = Baseline("idle", prepare)
    found = [*baselines.COPY_BOUNDS, wrong]
    rows, left_out = measure.measure(
        CASE, found, device=CPU, clock=clocks.clock_of(CPU), seconds=0.01
    )
    assert {row.entry for row in rows} == {"copy", "clone"}
    ((reason, where),) = left_out.items()
    assert reason.startswith("idle: wrong answer, off by ")
    assert where == ["glm-4-9b float32 5"]


def test_what_cannot_run_is_left_out_with_its_reason() -> None:
    elsewhere = Baseline("elsewhere", baselines.OURS[1].prepare, lambda device: f"no {device}")
    odd = Baseline("odd", baselines.OURS[1].prepare, unsupported=lambda case: case.layout)
    assert elsewhere.unavailable(CPU) == "no cpu"
    _, left_out = measure.measure(
        CASE, [*baselines.COPY_BOUNDS, odd], device=CPU, clock=clocks.clock_of(CPU), seconds=0.01
    )
    assert left_out == {"odd: contiguous": ["glm-4-9b float32 5"]}
    found, reasons = measure.chosen(["liger", "unfused", "unfused"], CPU)
    assert [b.name for b in found] == [
        "copy",
        "clone",
        "ours, in place",
        "ours, out=",
        "ours",
        "unfused torch ops",
    ]
    ((reason, where),) = reasons.items()
    assert where == []
    assert reason.startswith("Liger-Kernel: ")


def test_facts_tell_an_exact_phase_from_a_float32_angle() -> None:
    case = cases.prefill("llama-3.1-8b", "float32")
    ours, unfused = (
        measure.call_cost(b, case, device=CPU, seconds=0.01)
        for b in (baselines.OURS[1], *baselines.PEERS["unfused"])
    )
    assert ours is not None
    assert unfused is not None
    assert set(ours.error) == set(measure.POSITIONS)
    # 8e-8 and the rounding of the output, times the attention factor.
    assert max(ours.error.values()) < 2e-7
    assert unfused.error[1000] < 1e-4 < unfused.error[32767] < 1e-2 < unfused.error[1048575]
    assert ours.host_us > 0
    assert measure.call_cost(baselines.COPY_BOUNDS[0], case, device=CPU, seconds=0.01) is None


class DeviceStandIn:
    """The CPU in a device's place, down to where the tensors are made."""

    most_repeats = 20
    resolution = 20e-6

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: dict[str, float]) -> None:
        self.graphs: list[list[Callable[[], object]]] = []
        make = cases.make_inputs
        monkeypatch.setattr(measure, "make_inputs", lambda case, device: make(case))
        monkeypatch.setattr(measure, "name_of", lambda device: "a card")
        monkeypatch.setattr(measure, "graph_of", self.graph_of)
        monkeypatch.setattr(measure, "interleave", played(times))

    def graph_of(self, calls: list[Callable[[], object]]) -> Callable[[], object]:
        if calls[0].__name__ == "eager":
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.graphs.append(calls)
        return calls[0]

    def sample(self, *_: object) -> clocks.Sample:
        raise AssertionError("timings are played here")

    def rows(
        self, case: cases.Case, contenders: list[Baseline]
    ) -> tuple[list[Row], dict[str, object]]:
        gpu = torch.device("cuda")
        rows, left_out = measure.measure(case, contenders, device=gpu, clock=self, seconds=0.01)
        return rows, dict(left_out)


def test_on_a_gpu_few_tokens_are_replayed_in_a_graph_of_many_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in = DeviceStandIn(monkeypatch, dict.fromkeys(("copy", "clone", "pass in place"), 30.0))
    contenders = [
        *baselines.COPY_BOUNDS_ON_DEVICE,
        Baseline("eager", eager_prepare),
        baselines.OURS[0],
    ]
    few, many = replace(CASE, seqlen=64), replace(CASE, seqlen=65)
    rows, left_out = stand_in.rows(few, contenders)
    in_graph = ["copy", "clone", "pass in place", "ours, in place"]
    assert [row.entry for row in rows if row.cache == "graph"] == in_graph
    assert {row.device for row in rows} == {"a card"}
    reason = "eager: no CUDA graph: operation not permitted when stream is capturing"
    assert left_out == {reason: ["glm-4-9b float32 64"]}
    rows, left_out = stand_in.rows(many, contenders)
    assert {row.cache for row in rows} == {"hot", "flushed"}
    assert left_out == {}


def test_each_call_of_a_graph_has_buffers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = DeviceStandIn(monkeypatch, {})
    stand_in.rows(CASE, [*baselines.COPY_BOUNDS_ON_DEVICE, baselines.OURS[0]])
    assert 20 <= measure._CALLS_IN_A_GRAPH <= 50
    assert len(stand_in.graphs) == 4
    for calls in stand_in.graphs:
        assert len(calls) == measure._CALLS_IN_A_GRAPH
        held = [{x.data_ptr() for x in data_of(call)} for call in calls]
        assert all(held)
        assert sum(map(len, held)) == len(set().union(*held))


def data_of(call: Callable[[], object]) -> list[torch.Tensor]:
    """What a call reads or writes, besides positions, which all calls share."""
    cells = [cell.cell_contents for cell in call.__closure__ or ()]
    found = [x for cell in cells for x in (cell if isinstance(cell, tuple) else (cell,))]
    return [x for x in found if isinstance(x, torch.Tensor) and x.dtype != torch.int64]


def test_a_single_call_is_timed_after_a_flush_only_where_the_clock_resolves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = DeviceStandIn(monkeypatch, {"copy": 25.0, "clone": 25.0, "pass in place": 19.0})
    rows, left_out = quick.rows(replace(CASE, seqlen=65), list(baselines.COPY_BOUNDS_ON_DEVICE))
    assert {row.cache for row in rows} == {"hot"}
    assert left_out == {"flushed caches: a call takes less than 20 us": ["glm-4-9b float32 65"]}
    slow = DeviceStandIn(monkeypatch, {"copy": 25.0, "clone": 25.0, "pass in place": 21.0})
    rows, left_out = slow.rows(replace(CASE, seqlen=65), list(baselines.COPY_BOUNDS_ON_DEVICE))
    assert {row.cache for row in rows} == {"hot", "flushed"}
    assert left_out == {}


def test_on_a_device_a_call_in_place_is_set_against_a_pass_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {"copy": 40.0, "clone": 50.0, "pass in place": 25.0}
    times |= {"ours, in place": 30.0, "ours, out=": 60.0, "ours": 100.0}
    stand_in = DeviceStandIn(monkeypatch, times)
    rows, _ = stand_in.rows(CASE, [*baselines.COPY_BOUNDS_ON_DEVICE, *baselines.OURS])
    found = {row.entry: (row.floor, row.x_copy) for row in rows if row.cache == "hot"}
    assert found["ours, in place"] == ("pass in place", pytest.approx(1.2))
    assert found["ours, out="] == ("copy", 1.5)
    assert found["ours"] == ("clone", 2.0)


def eager_prepare(inputs: cases.Inputs) -> Call:
    def eager() -> None:
        pass

    return Call(inputs, lambda q, k: eager, baselines.OURS[-1].prepare(inputs).result)


def test_on_a_device_triton_is_timed_beside_the_cuda_kernels() -> None:
    found, _ = measure.chosen([], torch.device("cuda"))
    here, _ = measure.chosen([], CPU)
    more = {"pass in place", "ours, Triton in place"}
    assert {x.name for x in found} - {x.name for x in here} == more
