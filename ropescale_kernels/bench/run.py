"""A run of the bench: its options, its cases, and the loop that times them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from . import measure
from .baselines import PEERS, Baseline
from .cases import HEADLINE, LAYOUTS, Case, decode, prefill, suite
from .clocks import clock_of
from .machine import machine
from .report import Report, Row, add_left_out

# Suites whose rows the pictures show.
SUITES_OF_PLOTS = ("overview", "tokens", "context")
_QUICK_TOKENS = 32
_QUICK_SECONDS = 0.01


@dataclass(frozen=True)
class BenchRun:
    """The options of one run.

    Attributes:
        suites: Names of suites.
        models: Models to time beside the suites, at each of `dtypes` and `layouts`.
        tokens: Tokens of those models' prefills; None for each model's own number and a decode.
        peers: Keys of PEERS, or "none".
        device: "cpu" or "cuda".
        seconds: Time to spend on each case.
        threads: Threads of torch and of the kernels; None for as many as torch has.
        quick: Toy sizes, a hundredth of a second for each case, and no torch.compile.
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

    def completed(self, plots: bool = False) -> BenchRun:
        """Return a run with defaults for options that were not given.

        Args:
            plots: Whether pictures are drawn; their suites are then added.
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
        """Return the cases of the suites, then the cases of the models."""
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
        """Return the options of `ropescale bench` that describe the same run."""
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


class Progress:
    """Listener to a run. This base class ignores every event."""

    def started(self, found: Report, steps: int) -> None:
        """Take the report, which names the machine, and the number of steps."""

    def step(self, name: str) -> None:
        """Take the name of the step that begins."""

    def measured(self, case: Case, rows: list[Row]) -> None:
        """Take the rows of a case."""

    def finished(self) -> None:
        """Take the end of a step."""


def run(chosen: BenchRun, progress: Progress) -> Report:
    """Time every case of a run in this process.

    Args:
        chosen: The run.
        progress: Told of each step.

    Returns:
        The report: rows, call costs, and contenders that were left out.
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
    progress.started(found, len(cases) + len(baselines))
    clock = clock_of(device)
    for case in cases:
        progress.step(f"{case.name} {case.dtype} {case.tokens}")
        # A call with one token is so short that a third of the time gives enough samples.
        seconds = chosen.seconds / (3 if case.tokens == 1 else 1)
        rows, missing = measure.measure(
            case, baselines, device=device, clock=clock, seconds=seconds
        )
        found.rows += rows
        add_left_out(found.left_out, missing)
        progress.measured(case, rows)
        progress.finished()
    _add_call_costs(found, chosen, cases, baselines, progress)
    found.complete = True
    return found


def _add_call_costs(
    found: Report,
    chosen: BenchRun,
    cases: list[Case],
    baselines: list[Baseline],
    progress: Progress,
) -> None:
    """Add the call cost of each contender, in each dtype of the first case's model."""
    dtypes = dict.fromkeys(case.dtype for case in cases if case.model == cases[0].model)
    device = torch.device(chosen.device)
    for baseline in baselines:
        progress.step(f"{baseline.name}: one token")
        for dtype in dtypes:
            case = replace(cases[0], dtype=dtype)
            cost = measure.call_cost(baseline, case, device=device, seconds=chosen.seconds / 20)
            if cost is not None:
                found.facts.append(cost)
        progress.finished()
