"""`ropescale bench`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import torch
import typer

from ..bench import compare, machine, report
from ..bench.baselines import PEERS
from ..bench.cases import DTYPES, LAYOUTS, MODELS, SUITES, Case
from ..bench.run import BenchRun, Progress, run
from ..errors import RopeScaleValueError
from ._bench_tables import call_costs_table, case_table, changes_table
from ._console import Bar, progress, stdout_console
from ._files import need_matplotlib, writable, writable_folder
from ._numbers import between

Model = Enum("Model", {name: name for name in MODELS}, type=str)  # type: ignore[misc]
Suite = Enum("Suite", {name: name for name in SUITES}, type=str)  # type: ignore[misc]
Layout = Enum("Layout", {name: name for name in LAYOUTS}, type=str)  # type: ignore[misc]
DType = Enum("DType", {name: name for name in DTYPES}, type=str)  # type: ignore[misc]
Peer = Enum("Peer", {name: name for name in (*PEERS, "none")}, type=str)  # type: ignore[misc]


class Device(str, Enum):
    """Device of q and k."""

    cpu = "cpu"
    cuda = "cuda"


class Malloc(str, Enum):
    """Treatment of freed memory by malloc while the bench runs."""

    default = "default"
    retain = "retain"
    both = "both"


def bench(
    suites: Annotated[
        list[Suite] | None,
        typer.Option(
            "--suite",
            metavar="SUITE",
            help=f"Cases to time: {', '.join(SUITES)}; repeatable. By default: overview.",
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
            help=f"Element types of the models' shapes: {', '.join(DTYPES)}; repeatable.",
        ),
    ] = None,
    layouts: Annotated[
        list[Layout] | None,
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            help=f"Memory layouts of the models' shapes: {', '.join(LAYOUTS)}; repeatable.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            parser=between(1, 1 << 20), metavar="INTEGER", help="Tokens of the models' shapes."
        ),
    ] = None,
    peers: Annotated[
        list[Peer] | None,
        typer.Option(
            "--peer",
            metavar="PEER",
            help=f"Contenders of the kernel: {', '.join(PEERS)}, none; repeatable. By default: all "
            "that can run.",
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device of q and k.")] = Device.cpu,
    seconds: Annotated[
        float,
        typer.Option(
            parser=between(0.01, 600.0), metavar="FLOAT", help="Time to spend on each case."
        ),
    ] = 6.0,
    threads: Annotated[
        int | None,
        typer.Option(
            parser=between(1, 1024), metavar="INTEGER", help="Threads of torch and of the kernels."
        ),
    ] = None,
    malloc: Annotated[
        Malloc | None,
        typer.Option(
            help="Run in a new process whose malloc returns freed memory to the system (default) "
            "or keeps it (retain), or once in each."
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", callback=writable, help="Also write the figures to this file, case by case."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            callback=writable_folder,
            help="Also draw pictures into this folder; adds the suites that the pictures need.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Compare with the report of an earlier run (its --json file)."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Toy sizes without torch.compile: a trial run, whose figures mean nothing.",
        ),
    ] = False,
) -> None:
    """Time the kernel against a copy of the same bytes, the torch operations, and other packages.

    Every result is checked against float64 before anything is timed. Only the call is timed. The
    contenders of a case take turns within one process, with hot caches and with flushed caches.

    "x copy" is the time over the time of copying the same bytes: by clone for a call that
    allocates its output, on a GPU by a pass in place for a call in place. "eager", "compile" and
    "best other" are the times of those contenders over the time of the row. "error" is the largest
    difference from float64.

    On a GPU, "(host)" marks a time of the host, because the device waited for the host. Calls with
    flushed caches are timed if they take 20 us or more. Calls with few tokens are timed within a
    CUDA graph too.

    For example:

    ropescale bench --malloc both --plot pictures --json today.json

    ropescale bench --model qwen3-32b --layout packed-qkv --peer compile

    ropescale bench --suite tokens --against today.json
    """
    earlier = None if against is None else _read(against)
    if plot is not None:
        need_matplotlib()
    if device is Device.cuda and not torch.cuda.is_available():
        raise typer.BadParameter("expected a CUDA device, found none", param_hint="--device")
    chosen = BenchRun(
        suites=_values(suites),
        models=_values(models),
        dtypes=_values(dtypes),
        layouts=_values(layouts),
        tokens=tokens,
        peers=_values(peers),
        device=device.value,
        seconds=seconds,
        threads=threads,
        quick=quick,
    ).completed(plots=plot is not None)
    if malloc is Malloc.both:
        found = report.merged([_run_with(name, chosen) for name in ("default", "retain")])
    elif malloc is not None and malloc.value != machine.malloc_setting():
        found = _run_with(malloc.value, chosen)
    else:
        found = _run(chosen, json_file)
    if json_file is not None:
        report.write_json(json_file, found)
    if earlier is not None and against is not None:
        _compare(earlier, found, against.name)
    if plot is not None:
        _draw(found, plot)


def _values(chosen: Sequence[Enum] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.value for item in chosen or ()))


def _read(path: Path) -> report.Report:
    try:
        return report.read_json(path)
    except RopeScaleValueError as error:
        wrong = str(error).removeprefix("report: ")
        raise typer.BadParameter(wrong, param_hint="--against") from error


class _Printer(Progress):
    """Printer of each case when it is measured. It also writes the report and moves the bar."""

    def __init__(self, bar: Bar, json_file: Path | None) -> None:
        self._bar = bar
        self._json_file = json_file
        self._console = stdout_console()

    def started(self, found: report.Report, steps: int) -> None:
        self._found = found
        about = found.machine
        where = about.get("gpu") or f"{about['cpu']}, {about['threads']} threads, {about['isa']}"
        self._console.print(
            f"{where}, torch {about['torch']}, malloc {machine.malloc_setting()}, "
            f"load before {about['load']}"
        )
        self._bar.begin(steps)

    def step(self, name: str) -> None:
        self._bar.advance(0, name)

    def measured(self, case: Case, rows: list[report.Row]) -> None:
        self._console.print(case_table(case, rows))
        if self._json_file is not None:
            report.write_json(self._json_file, self._found)

    def finished(self) -> None:
        self._bar.advance()


def _run(chosen: BenchRun, json_file: Path | None) -> report.Report:
    """Return the report of a run in this process; print it, and write it after each case."""
    with progress("timing") as bar:
        found = run(chosen, _Printer(bar, json_file))
    console = stdout_console()
    if found.facts:
        console.print(call_costs_table(found.facts))
    for reason, names in found.left_out.items():
        text = f"left out: {reason}"
        if names:
            text += f" ({names[0]})" if len(names) == 1 else f" ({len(names)} cases)"
        console.print(text, highlight=False, markup=False)
    return found


def _run_with(malloc: str, chosen: BenchRun) -> report.Report:
    """Return the report of a run in a process with another malloc setting."""
    environment = machine.without_malloc(os.environ)
    if malloc == "retain":
        environment |= machine.RETAIN
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "report.json"
        command = [sys.executable, "-m", "ropescale_kernels.cli", "bench", *chosen.arguments()]
        sys.stdout.flush()
        done = subprocess.run([*command, f"--json={kept}"], env=environment)
        if done.returncode != 0:
            raise typer.Exit(done.returncode if done.returncode > 0 else 1)
        return report.read_json(kept)


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
