"""What a plan fills in, and what it times."""

from __future__ import annotations

import pytest
import torch

from ropescale_kernels.bench import baselines, cases
from ropescale_kernels.bench.report import Report, Row
from ropescale_kernels.bench.run import SUITES_OF_PLOTS, BenchRun, Progress, run


def test_named_shapes_are_every_combination_once() -> None:
    chosen = BenchRun(
        models=("llama-3.1-70b-tp8", "qwen3-32b"),
        dtypes=("bfloat16", "float32"),
        layouts=("contiguous", "packed-qkv"),
    ).cases()
    assert len(chosen) == len(set(chosen)) == 16
    assert sum(case.seqlen == 1 for case in chosen) == 8


def test_tokens_are_those_of_a_prefill_and_leave_out_the_decode() -> None:
    (case,) = BenchRun(tokens=9).completed().cases()
    assert (case.model, case.dtype, case.tokens) == (cases.HEADLINE, "bfloat16", 9)


@pytest.mark.parametrize(
    ("said", "suites", "models"),
    [
        (BenchRun(), ("overview",), ()),
        (BenchRun(suites=("tokens",)), ("tokens",), ()),
        (BenchRun(models=("llama-3.1-70b-tp8",)), (), ("llama-3.1-70b-tp8",)),
        (BenchRun(dtypes=("float32",)), (), (cases.HEADLINE,)),
        (BenchRun(suites=("tokens",), layouts=("packed-qkv",)), ("tokens",), (cases.HEADLINE,)),
    ],
)
def test_what_was_not_said_is_filled_in(
    said: BenchRun, suites: tuple[str, ...], models: tuple[str, ...]
) -> None:
    whole = said.completed()
    assert (whole.suites, whole.models) == (suites, models)
    assert whole.completed() == whole
    assert set(said.completed(plots=True).suites) == {*SUITES_OF_PLOTS} | {
        name for name in suites if said.suites
    }


def test_quick_is_small_and_compiles_nothing() -> None:
    whole = BenchRun(suites=tuple(cases.SUITES), quick=True).completed()
    assert "compile" not in whole.peers
    assert max(case.tokens for case in whole.cases()) <= 64


def test_peers_may_be_none() -> None:
    assert BenchRun(peers=("none",)).completed().peers == ()
    assert BenchRun().completed().peers == tuple(baselines.PEERS)


@pytest.mark.usefixtures("small_cache")
def test_a_run_tells_what_it_does_and_sets_the_threads() -> None:
    heard: list[str] = []

    class Listener(Progress):
        def started(self, report: Report, steps: int) -> None:
            heard.append(f"begun {report.machine['threads']} {steps}")

        def step(self, what: str) -> None:
            heard.append(what)

        def measured(self, case: cases.Case, rows: list[Row]) -> None:
            heard.append(f"measured {len(rows)}")

        def finished(self) -> None:
            heard.append("done")

    before = torch.get_num_threads()
    chosen = BenchRun(
        models=("llama-3.1-70b-tp8",), tokens=3, peers=("none",), threads=1, quick=True
    )
    try:
        found = run(chosen.completed(), Listener())
    finally:
        torch.set_num_threads(before)
    contenders = [b.name for b in (*baselines.COPY_BOUNDS, *baselines.OURS)]
    assert heard[:4] == ["begun 1 6", "llama-3.1-70b-tp8 bfloat16 3", "measured 10", "done"]
    assert heard[4:] == [line for name in contenders for line in (f"{name}: one token", "done")]
    assert [fact.entry for fact in found.facts] == contenders[2:]
