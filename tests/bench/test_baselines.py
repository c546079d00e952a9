"""Every contender gives the right answer, and the check of answers finds a wrong one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from ropescale_kernels.bench import baselines, cases
from ropescale_kernels.bench.baselines import torch_ops

CPU = torch.device("cpu")
EXACT = {b.name for b in (*baselines.OURS, *baselines.OPTIONS)} - {
    "ours, phase float32",
    "ours, given cos and sin",
}
UNCOMPILED = [
    *baselines.OURS,
    *baselines.OPTIONS,
    *baselines.PEERS["unfused"],
    *baselines.PEERS["transformers"],
]


# Each baseline on each layout, with two models in turn: models differ in sizes alone.
_MODELS = itertools.cycle(cases.MODELS)
ANSWERS = [
    pytest.param(baseline, model, layout, id=f"{baseline.name}-{model}-{layout}")
    for layout in cases.LAYOUTS
    for baseline in UNCOMPILED
    for model in itertools.islice(_MODELS, 2)
]


@pytest.mark.parametrize(("baseline", "model", "layout"), ANSWERS)
def test_the_answer_is_right(baseline: baselines.Baseline, model: str, layout: str) -> None:
    case = replace(cases.prefill(model, "float32", 5), layout=layout, batch=2)
    inputs = cases.make_inputs(case)
    untouched = inputs.q.clone()
    call = baseline.prepare(inputs)
    assert call.result is not None
    error = baselines.error_against(call.result(), baselines.float64_reference(inputs))
    # The float32 angle of the others errs by 1e-3 at position 32767; |x| is below 6.
    assert error < (3e-6 if baseline.name in EXACT else 2e-2)
    assert (error > 1e-5) == (baseline.name not in EXACT)
    for _ in range(3):
        call.run()
    assert torch.equal(inputs.q, untouched)


@pytest.mark.parametrize("baseline", baselines.COPY_BOUNDS, ids=lambda b: b.name)
def test_the_floor_moves_the_bytes_and_rotates_nothing(baseline: baselines.Baseline) -> None:
    inputs = cases.make_inputs(cases.decode("llama-3.1-70b-tp8"))
    call = baseline.prepare(inputs)
    assert call.result is None
    q, k = call.run()  # type: ignore[misc]
    assert torch.equal(q, inputs.q)
    assert torch.equal(k, inputs.k)
    assert q.data_ptr() != inputs.q.data_ptr()


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("tokens", [1, 4096])
def test_a_pass_in_place_reads_and_writes_every_element(
    tokens: int, dtype: str, layout: str
) -> None:
    case = replace(cases.prefill("llama-3.1-8b", dtype, tokens), layout=layout)
    inputs = cases.make_inputs(case)
    call = baselines.COPY_BOUNDS_ON_DEVICE[-1].prepare(inputs)
    parts = call.run()
    # One buffer, and so one kernel, up to what an L2 cache holds.
    assert len(parts) == (1 if case.bytes <= 64 << 20 else 2)  # type: ignore[arg-type]
    got = torch.cat([part.flatten() for part in parts])  # type: ignore[attr-defined]
    want = torch.cat([x.flatten() for x in (inputs.q, inputs.k)]).view(torch.int32)
    assert torch.equal(got, ~want)


def test_in_place_stays_finite_however_often_it_is_called() -> None:
    inputs = cases.make_inputs(cases.decode("llama-3.1-70b-tp8", "float32"))
    call = baselines.OURS[0].prepare(inputs)
    for _ in range(1000):
        call.run()
    held = dict(zip(call.run.__code__.co_freevars, call.run.__closure__ or (), strict=True))
    assert float(held["q"].cell_contents.norm()) == pytest.approx(float(inputs.q.norm()), rel=1e-3)


def test_compiled_ways_are_compiled_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    # Eager stands in for compiled code, which the suite has no time to make.
    asked = []

    def played(function: object, dynamic: bool) -> object:
        asked.append((function.__code__, dynamic))  # type: ignore[attr-defined]
        return function

    monkeypatch.setattr("torch.compile", played)
    inputs = cases.make_inputs(cases.prefill("glm-4-9b", "float32", 5))
    truth = baselines.float64_reference(inputs)
    for baseline in baselines.PEERS["compile"]:
        call = baseline.prepare(inputs)
        assert call.result is not None
        assert 1e-5 < baselines.error_against(call.result(), truth) < 2e-2
    assert [dynamic for _, dynamic in asked] == [False, False, False, True, True]
    # Of one code object, a call takes any graph that fits.
    assert len({id(code) for code, _ in asked}) == 5


def test_without_a_compiler_that_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_ops.shutil, "which", lambda name: None)
    for baseline in baselines.PEERS["compile"]:
        assert baseline.unavailable(CPU) == "no C++ compiler on PATH"
        assert baseline.unavailable(torch.device("cuda")) is None


@pytest.mark.parametrize("baseline", UNCOMPILED, ids=lambda b: b.name)
def test_what_is_kept_does_not_grow_but_for_given_tables(baseline: baselines.Baseline) -> None:
    case = cases.MODELS["llama-3.1-8b"]
    few, many = (baseline.table_bytes(case, n) for n in (1024, 1 << 20))
    assert few > 0
    if baseline.name == "ours, given cos and sin":
        assert (few, many) == (4 * 128 * 1024, 4 * 128 << 20)
    else:
        assert few == many < 1024


def test_a_wrong_rotation_is_told_from_a_rounded_one() -> None:
    inputs = cases.make_inputs(cases.prefill("llama-3.1-70b-tp8", "bfloat16", 5))
    truth = baselines.float64_reference(inputs)
    q, k = truth[0].bfloat16(), truth[1].bfloat16()  # type: ignore[union-attr]
    assert baselines.is_same_rotation((q, k), truth)
    assert not baselines.is_same_rotation((inputs.q, inputs.k), truth)
    assert not baselines.is_same_rotation((q, k.flip(1)), truth)
    assert not baselines.is_same_rotation((q[:, :4], k), truth)
    assert not baselines.is_same_rotation((q, None), truth)
    q[0, 0, 0, 0] = float("nan")
    assert not baselines.is_same_rotation((q, k), truth)
    assert baselines.error_against((q, k), truth) == float("inf")


def test_every_name_is_there_once() -> None:
    found = [*baselines.COPY_BOUNDS, *baselines.OURS, *baselines.OPTIONS]
    found += [b for group in baselines.PEERS.values() for b in group]
    names = [baseline.name for baseline in found]
    assert len(names) == len(set(names))
    assert set(baselines.COMPILED) | {baselines.EAGER} <= set(names)


@pytest.mark.slow
@pytest.mark.skipif(
    baselines.PEERS["compile"][0].unavailable(CPU) is not None, reason="no compiler"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's, from within
def test_torch_compile_itself_gives_the_right_answer() -> None:
    (baseline,) = (b for b in baselines.PEERS["compile"] if b.name.endswith("dynamic"))
    inputs = cases.make_inputs(cases.prefill("llama-3.1-70b-tp8", "float32", 3))
    call = baseline.prepare(inputs)
    assert call.result is not None
    assert 1e-5 < baselines.error_against(call.result(), baselines.float64_reference(inputs)) < 2e-2
