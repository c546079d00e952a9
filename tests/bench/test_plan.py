"""What a plan fills in, and what it times."""

from __future__ import annotations

import pytest
import torch

from ropescale_kernels.bench import baselines, cases
from ropescale_kernels.bench.plan import SUITES_OF_PLOTS, Plan, Watcher, run
from ropescale_kernels.bench.report import Report, Row


def test_named_shapes_are_every_combination_once() -> None:
    chosen = Plan(
        models=("llama-3.1-70b-tp8", "qwen3-32b"),
        dtypes=("bfloat16", "float32"),
        layouts=("contiguous", "packed-qkv"),
    ).cases()
    assert len(chosen) == len(set(chosen)) == 16
    assert sum(case.seqlen == 1 for case in chosen) == 8


def test_tokens_are_those_of_a_prefill_and_leave_out_the_decode() -> None:
    (case,) = Plan(tokens=9).completed().cases()
    assert (case.model, case.dtype, case.tokens) == (cases.HEADLINE, "bfloat16", 9)


@pytest.mark.parametrize(
    ("said", "suites", "models"),
    [
        (Plan(), ("overview",), ()),
        (Plan(suites=("tokens",)), ("tokens",), ()),
        (Plan(models=("llama-3.1-70b-tp8",)), (), ("llama-3.1-70b-tp8",)),
        (Plan(dtypes=("float32",)), (), (cases.HEADLINE,)),
        (Plan(suites=("tokens",), layouts=("packed-qkv",)), ("tokens",), (cases.HEADLINE,)),
    ],
)
def test_what_was_not_said_is_filled_in(
    said: Plan, suites: tuple[str, ...], models: tuple[str, ...]
) -> None:
    whole = said.completed()
    assert (whole.suites, whole.models) == (suites, models)
    assert whole.completed() == whole
    assert set(said.completed(plots=True).suites) == {*SUITES_OF_PLOTS} | {
        name for name in suites if said.suites
    }


def test_quick_is_small_and_compiles_nothing() -> None:
    whole = Plan(suites=tuple(cases.SUITES), quick=True).completed()
    assert "compile" not in whole.peers
    assert max(case.tokens for case in whole.cases()) <= 64


def test_peers_may_be_none() -> None:
    assert Plan(peers=("none",)).completed().peers == ()
    assert Plan().completed().peers == tuple(baselines.PEERS)


def test_a_run_tells_what_it_does_and_sets_the_threads() -> None:
    heard: list[str] = []

    class Listener(Watcher):
        def begun(self, report: Report, steps: int) -> None:
            heard.append(f"begun {report.machine['threads']} {steps}")

        def doing(self, what: str) -> None:
            heard.append(what)

        def measured(self, case: cases.Case, rows: list[Row]) -> None:
            heard.append(f"measured {len(rows)}")

        def done(self) -> None:
            heard.append("done")

    before = torch.get_num_threads()
    chosen = Plan(models=("llama-3.1-70b-tp8",), tokens=3, peers=("none",), threads=1, quick=True)
    try:
        found = run(chosen.completed(), Listener())
    finally:
        torch.set_num_threads(before)
    ways = [b.name for b in (*baselines.FLOOR, *baselines.OURS)]
    assert heard[:4] == ["begun 1 6", "llama-3.1-70b-tp8 bfloat16 3", "measured 10", "done"]
    assert heard[4:] == [line for name in ways for line in (f"{name}: one token", "done")]
    assert [fact.entry for fact in found.facts] == ways[2:]
