"""What is to be timed, and timing it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from . import measure
from .baselines import PEERS, Baseline
from .cases import HEADLINE, LAYOUTS, Case, decode, prefill, suite
from .clocks import clock_of
from .machine import machine
from .report import Report, Row, add_left_out

# What the pictures are drawn from.
SUITES_OF_PLOTS = ("overview", "tokens", "context")
_QUICK_TOKENS = 32
_QUICK_SECONDS = 0.01


@dataclass(frozen=True)
class Plan:
    """A run of the bench.

    Attributes:
        suites: Names of suites.
        models: Models to time besides, at each of `dtypes` and `layouts`.
        tokens: Of those models' prefills; None for each one's own number, and a decode besides.
        peers: Keys of PEERS, or "none".
        device: "cpu" or "cuda".
        seconds: To spend on each case.
        threads: Of torch and of the kernels; None for as many as torch has.
        quick: Toy sizes, next to no time, and nothing compiled.
    """

    suites: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    tokens: int | None = None
    peers: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: float = 6.0
    threads: int | None = None
    quick: bool = False

    def completed(self, plots: bool = False) -> Plan:
        """Fill in what was not said: the overview, the headline's model, every peer.

        Args:
            plots: Whether pictures will be drawn, and so their suites are wanted.

        Returns:
            A plan that says everything.
        """
        suites, models = self.suites, self.models
        if (self.dtypes or self.layouts or self.tokens is not None) and not models:
            models = (HEADLINE,)
        if plots:
            suites += tuple(name for name in SUITES_OF_PLOTS if name not in suites)
        if not suites and not models:
            suites = ("overview",)
        unwanted = {"none", "compile"} if self.quick else {"none"}
        return replace(
            self,
            suites=suites,
            models=models,
            dtypes=(self.dtypes or ("bfloat16",)) if models else (),
            layouts=(self.layouts or LAYOUTS[:1]) if models else (),
            peers=tuple(name for name in self.peers or PEERS if name not in unwanted),
            seconds=_QUICK_SECONDS if self.quick else self.seconds,
        )

    def cases(self) -> list[Case]:
        """Give the suites' cases, then those of the models."""
        found = suite(self.suites, self.device)
        for model in self.models:
            for dtype in self.dtypes:
                for layout in self.layouts:
                    named = [prefill(model, dtype, self.tokens)]
                    if self.tokens is None:
                        named.append(decode(model, dtype))
                    found += [replace(case, layout=layout) for case in named]
        if self.quick:
            found = [
                replace(case, seqlen=min(case.seqlen, _QUICK_TOKENS), batch=min(case.batch, 2))
                for case in found
            ]
        return list(dict.fromkeys(found))

    def arguments(self) -> list[str]:
        """Give the command line of `ropescale bench` that says the same."""
        words = [f"--device={self.device}", f"--seconds={self.seconds}"]
        words += [f"--suite={name}" for name in self.suites]
        for option, values in (
            ("model", self.models),
            ("dtype", self.dtypes),
            ("layout", self.layouts),
            ("peer", self.peers or ("none",)),
        ):
            words += [f"--{option}={value}" for value in values]
        words += [f"--tokens={self.tokens}"] if self.tokens is not None else []
        words += [f"--threads={self.threads}"] if self.threads is not None else []
        return words + ["--quick"] * self.quick


class Watcher:
    """What hears of a run as it goes on; this one keeps silent."""

    def begun(self, found: Report, steps: int) -> None:
        """Say what is timed on, and in how many steps."""

    def doing(self, what: str) -> None:
        """Say what comes next."""

    def measured(self, case: Case, rows: list[Row]) -> None:
        """Say what a case gave."""

    def done(self) -> None:
        """Say that a step is done."""


def run(chosen: Plan, watcher: Watcher) -> Report:
    """Time every case of a plan in this process.

    Args:
        chosen: The plan.
        watcher: Hears of it.

    Returns:
        Rows, facts, and what was left out.
    """
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    baselines, left_out = measure.chosen(chosen.peers, device)
    found = Report(
        machine=machine(device),
        peers={baseline.name: baseline.version() for baseline in baselines},
        left_out=left_out,
    )
    cases = chosen.cases()
    watcher.begun(found, len(cases) + len(baselines))
    clock = clock_of(device)
    for case in cases:
        watcher.doing(f"{case.name} {case.dtype} {case.tokens}")
        # One token is timed often enough in a third of the time.
        seconds = chosen.seconds / (3 if case.tokens == 1 else 1)
        rows, missing = measure.measure(
            case, baselines, device=device, clock=clock, seconds=seconds
        )
        found.rows += rows
        add_left_out(found.left_out, missing)
        watcher.measured(case, rows)
        watcher.done()
    _add_facts(found, chosen, cases, baselines, watcher)
    found.complete = True
    return found


def _add_facts(
    found: Report, chosen: Plan, cases: list[Case], baselines: list[Baseline], watcher: Watcher
) -> None:
    """Add facts of each way, in each element type of the first case's model."""
    dtypes = dict.fromkeys(case.dtype for case in cases if case.model == cases[0].model)
    device = torch.device(chosen.device)
    for baseline in baselines:
        watcher.doing(f"{baseline.name}: one token")
        for dtype in dtypes:
            case = replace(cases[0], dtype=dtype)
            fact = measure.facts(baseline, case, device=device, seconds=chosen.seconds / 20)
            if fact is not None:
                found.facts.append(fact)
        watcher.done()
