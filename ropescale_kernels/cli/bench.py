"""`ropescale bench`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..bench import compare, machine, measure, report
from ..bench.baselines import PEERS, Baseline
from ..bench.cases import DTYPES, LAYOUTS, MODELS, SUITES, Case, decode, prefill, suite
from ..bench.timing import clock_of
from ..errors import RopeScaleValueError
from ._bench_tables import case_table, changes_table, facts_table
from ._console import progress, stdout_console
from ._files import writable
from ._numbers import between

Model = Enum("Model", {name: name for name in MODELS}, type=str)  # type: ignore[misc]
Suite = Enum("Suite", {name: name for name in SUITES}, type=str)  # type: ignore[misc]
Layout = Enum("Layout", {name: name for name in LAYOUTS}, type=str)  # type: ignore[misc]
DType = Enum("DType", {name: name for name in DTYPES}, type=str)  # type: ignore[misc]
Peer = Enum("Peer", {name: name for name in (*PEERS, "none")}, type=str)  # type: ignore[misc]


class Device(str, Enum):
    """Where q and k are."""

    cpu = "cpu"
    cuda = "cuda"


class Malloc(str, Enum):
    """What malloc does with freed memory while the bench runs."""

    default = "default"
    retain = "retain"
    both = "both"


# What the pictures are drawn from.
_SUITES_OF_PLOTS = ("overview", "tokens", "context")
_QUICK_TOKENS = 32


@dataclass(frozen=True)
class _Plan:
    """What is to be timed, as the command line gave it."""

    suites: tuple[str, ...]
    models: tuple[str, ...]
    dtypes: tuple[str, ...]
    layouts: tuple[str, ...]
    tokens: int | None
    peers: tuple[str, ...]
    device: str
    seconds: float
    threads: int | None
    quick: bool

    def cases(self) -> list[Case]:
        """Give the suites' cases, then those that were named."""
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
        """Give the command line that says the same."""
        words = [f"--device={self.device}", f"--seconds={self.seconds}"]
        words += [f"--suite={name}" for name in self.suites]
        # Of what was named, nothing is said where suites alone were.
        for option, values in (
            ("model", self.models),
            ("dtype", self.dtypes if self.models else ()),
            ("layout", self.layouts if self.models else ()),
            ("peer", self.peers or ("none",)),
        ):
            words += [f"--{option}={value}" for value in values]
        words += [f"--tokens={self.tokens}"] if self.tokens is not None else []
        words += [f"--threads={self.threads}"] if self.threads is not None else []
        return words + ["--quick"] * self.quick


def bench(
    suites: Annotated[
        list[Suite] | None,
        typer.Option(
            "--suite",
            metavar="SUITE",
            help=f"Cases to time, of {', '.join(SUITES)}; repeatable. By default: overview.",
        ),
    ] = None,
    models: Annotated[
        list[Model] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help=f"Time a model's shapes, prefill and decode; repeatable: {', '.join(MODELS)}.",
        ),
    ] = None,
    dtypes: Annotated[
        list[DType] | None,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            help=f"Element types of named shapes, of {', '.join(DTYPES)}; repeatable.",
        ),
    ] = None,
    layouts: Annotated[
        list[Layout] | None,
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            help=f"Memory layouts of named shapes, of {', '.join(LAYOUTS)}; repeatable.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(callback=between(1, 1 << 20), help="Tokens of named shapes."),
    ] = None,
    peers: Annotated[
        list[Peer] | None,
        typer.Option(
            "--peer",
            metavar="PEER",
            help=f"What to time against, of {', '.join(PEERS)}, none; repeatable. By default: all "
            "that can run.",
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where q and k are.")] = Device.cpu,
    seconds: Annotated[
        float, typer.Option(callback=between(0.01, 600.0), help="Time to spend on each case.")
    ] = 6.0,
    threads: Annotated[
        int | None,
        typer.Option(callback=between(1, 1024), help="Threads of torch and of the kernels."),
    ] = None,
    malloc: Annotated[
        Malloc | None,
        typer.Option(
            help="Start over with malloc giving freed memory back, retaining it, or once each."
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", callback=writable, help="Also write the figures to this file."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Also draw pictures into this folder; adds the suites they need.",
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Compare with a run that --json kept.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Toy sizes, no torch.compile: shows that it runs, measures nothing."
        ),
    ] = False,
) -> None:
    """Time the kernel against a copy of the same bytes, the torch operations, and other packages.

    Every answer is checked against float64 before anything is timed. Only the call is timed, all
    ways of a case in turn within one process, with hot caches and with flushed ones. "x copy" is
    the time over that of copying the same bytes (of clone, for what allocates its output); "eager",
    "compile" and "best other" are how many times longer those take; "error" is the largest
    difference from float64.

    For example:

    ropescale bench --malloc both --plot pictures --json today.json

    ropescale bench --model qwen3-32b --layout packed-qkv --peer compile

    ropescale bench --suite tokens --against today.json
    """
    earlier = None if against is None else _read(against)
    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise typer.BadParameter(
            "expected matplotlib, found none; pip install 'ropescale_kernels[plot]'",
            param_hint="--plot",
        )
    if device is Device.cuda and not torch.cuda.is_available():
        raise typer.BadParameter("expected a CUDA device, found none", param_hint="--device")
    plan = _plan(
        suites, models, dtypes, layouts, tokens, peers, device, seconds, threads, quick, plot
    )
    if malloc is Malloc.both:
        found = _run_both(plan)
    elif malloc is not None and malloc.value != machine.malloc_setting():
        found = _run_with(malloc.value, plan)
    else:
        found = _run(plan)
    if json_file is not None:
        report.write_json(json_file, found)
    if earlier is not None:
        assert against is not None
        _compare(earlier, found, against.name)
    if plot is not None:
        _draw(found, plot)


def _read(path: Path) -> report.Report:
    try:
        return report.read_json(path)
    except RopeScaleValueError as error:
        wrong = str(error).removeprefix("report: ")
        raise typer.BadParameter(wrong, param_hint="--against") from error


def _plan(
    suites: Any,
    models: Any,
    dtypes: Any,
    layouts: Any,
    tokens: int | None,
    peers: Any,
    device: Device,
    seconds: float,
    threads: int | None,
    quick: bool,
    plot: Path | None,
) -> _Plan:
    def values(chosen: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.value for item in chosen or ()))

    names = values(suites)
    named = values(models)
    shaped = bool(dtypes or layouts or tokens is not None)
    if shaped and not named:
        named = ("llama-3.1-8b",)
    if plot is not None:
        names += tuple(name for name in _SUITES_OF_PLOTS if name not in names)
    if not names and not named:
        names = ("overview",)
    chosen = values(peers) or tuple(PEERS)
    if quick:
        chosen = tuple(name for name in chosen if name != "compile")
    return _Plan(
        suites=names,
        models=named,
        dtypes=values(dtypes) or ("bfloat16",),
        layouts=values(layouts) or LAYOUTS[:1],
        tokens=tokens,
        peers=tuple(name for name in chosen if name != "none"),
        device=device.value,
        seconds=0.01 if quick else seconds,
        threads=threads,
        quick=quick,
    )


def _run(plan: _Plan) -> report.Report:
    """Time every case in this process."""
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    device = torch.device(plan.device)
    baselines, left_out = measure.chosen(plan.peers, device)
    found = report.Report(
        machine=machine.machine(device),
        peers={baseline.name: baseline.version() for baseline in baselines},
        left_out=left_out,
    )
    console = stdout_console()
    about = found.machine
    where = about.get("gpu") or f"{about['cpu']}, {about['threads']} threads, {about['isa']}"
    console.print(
        f"{where}, torch {about['torch']}, malloc {machine.malloc_setting()}, "
        f"load before {about['load']}"
    )
    cases = plan.cases()
    clock = clock_of(device)
    with progress("timing", len(cases) + len(baselines)) as bar:
        for case in cases:
            bar.advance(0, f"{case.name} {case.dtype} {case.tokens}")
            seconds = plan.seconds / (3 if case.tokens == 1 else 1)
            rows, missing = measure.measure(
                case, baselines, device=device, clock=clock, seconds=seconds
            )
            found.rows += rows
            report.add_left_out(found.left_out, missing)
            bar.advance()
            console.print(case_table(case, rows))
        found.facts = _facts(plan, cases, baselines, device, bar)
    if found.facts:
        console.print(facts_table(found.facts))
    for reason, names in found.left_out.items():
        text = f"left out: {reason}"
        if names:
            text += f" ({names[0]})" if len(names) == 1 else f" ({len(names)} cases)"
        console.print(text, highlight=False, markup=False)
    return found


def _facts(
    plan: _Plan, cases: list[Case], baselines: list[Baseline], device: torch.device, bar: Any
) -> list[report.Fact]:
    """Facts of each way, in each element type of the first case's model."""
    found = []
    dtypes = dict.fromkeys(case.dtype for case in cases if case.model == cases[0].model)
    for baseline in baselines:
        bar.advance(0, f"{baseline.name}: one token")
        for dtype in dtypes:
            case = replace(cases[0], dtype=dtype)
            fact = measure.facts(baseline, case, device=device, seconds=plan.seconds / 20)
            if fact is not None:
                found.append(fact)
        bar.advance()
    return found


def _run_with(malloc: str, plan: _Plan) -> report.Report:
    """Run the plan in a process with another malloc setting, and read what it found."""
    environment = machine.without_malloc(os.environ)
    if malloc == "retain":
        environment |= machine.RETAIN
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "report.json"
        command = [sys.executable, "-m", "ropescale_kernels.cli", "bench", *plan.arguments()]
        sys.stdout.flush()
        done = subprocess.run([*command, f"--json={kept}"], env=environment)
        if done.returncode != 0:
            raise typer.Exit(done.returncode if done.returncode > 0 else 1)
        return report.read_json(kept)


def _run_both(plan: _Plan) -> report.Report:
    return report.merged([_run_with(malloc, plan) for malloc in ("default", "retain")])


def _compare(then: report.Report, now: report.Report, name: str) -> None:
    console = stdout_console()
    for line in compare.differences(then, now):
        console.print(f"not the same machine: {line}", highlight=False)
    found = list(compare.changes(then, now))
    if found:
        console.print(changes_table(found, name))
    else:
        console.print(f"{name} holds none of the rows measured now")


def _draw(found: report.Report, folder: Path) -> None:
    from ..bench.plots import write_plots

    console = stdout_console()
    for path in write_plots(found, folder):
        console.print(f"wrote {path}", highlight=False)
