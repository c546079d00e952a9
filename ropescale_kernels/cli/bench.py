"""`ropescale bench`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..bench import report
from ..bench.cases import MODELS, Case, decode, prefill
from ._files import writable
from ._numbers import between

Model = Enum("Model", {name: name for name in MODELS}, type=str)  # type: ignore[misc]


class DType(str, Enum):
    """Element types of q and k."""

    bfloat16 = "bfloat16"
    float32 = "float32"
    float16 = "float16"


class Malloc(str, Enum):
    """What malloc does with freed memory while the bench runs."""

    default = "default"
    retain = "retain"
    both = "both"


# What `ropescale bench` runs when nothing is asked for: the headline shape in both widths, then one
# shape of each kind.
_DEFAULT = (
    ("llama-3.1-8b", DType.bfloat16),
    ("llama-3.1-8b", DType.float32),
    ("few-heads", DType.bfloat16),
    ("deepseek-v3-mla", DType.bfloat16),
    ("glm-4-9b", DType.bfloat16),
)


def bench(
    model: Annotated[
        list[Model] | None, typer.Option(help="Shapes to time, by model; repeatable.")
    ] = None,
    dtype: Annotated[list[DType] | None, typer.Option(help="Element types; repeatable.")] = None,
    tokens: Annotated[
        int | None, typer.Option(callback=between(1, 1 << 20), help="Tokens of a prefill.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(callback=between(0.01, 600.0), help="Time to spend on each case.")
    ] = 6.0,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Time torch.compile of the torch ops.")
    ] = True,
    eager: Annotated[
        bool, typer.Option("--eager/--no-eager", help="Time Transformers' eager functions.")
    ] = True,
    threads: Annotated[
        int | None,
        typer.Option(callback=between(1, 1024), help="Threads of torch and of the kernels."),
    ] = None,
    malloc: Annotated[
        Malloc | None,
        typer.Option(
            help="Start over with malloc giving freed memory back, retaining it, or each."
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            callback=writable,
            help="Also write the figures to this file (by --malloc both, to FILE-default and "
            "FILE-retain).",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Toy sizes: shows that it runs, measures nothing.")
    ] = False,
) -> None:
    """Time the kernel against a copy of the same bytes and the unfused torch operations.

    Only the call is timed, calls of a case in turn within one process. "x copy" is the time over
    that of copying the same bytes (of clone, for what allocates its output); "error" is the largest
    difference from float64; "eager" and "compile" are how many times longer those take (of the two
    compiled rows, the faster).

    Example: ropescale bench --model llama-3.1-8b --dtype bfloat16 --malloc retain
    """
    if malloc is Malloc.both:
        _run_both(json_file)
    if malloc is not None and malloc.value != report.malloc_setting():
        _restart(malloc)
    if threads is not None:
        torch.set_num_threads(threads)
    compiled = compiled and not quick
    if compiled and not any(shutil.which(c) for c in ("g++", "c++", "clang++")):
        typer.echo("bench: no C++ compiler on PATH, leaving out torch.compile", err=True)
        compiled = False
    cases = _cases(model, dtype, 32 if quick else tokens)
    rows: list[report.Row] = []
    console = Console()
    about = report.machine()
    console.print(
        f"{about['cpu']}, {about['threads']} threads, {about['isa']}, torch {about['torch']}, "
        f"malloc {about['malloc']}, load before {about['load']}"
    )
    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("timing", total=len(cases))
        for case in cases:
            bar.update(task, description=f"{case.name} {case.dtype}")
            rows += report.measure(
                case,
                seconds=0.01 if quick else seconds / (3 if case.seqlen == 1 else 1),
                compiled=compiled,
                transformers=eager,
            )
            bar.advance(task)
    for case in cases:
        console.print(
            _table(case, [r for r in rows if (r.case, r.dtype) == (case.name, case.dtype)])
        )
    if json_file is not None:
        report.write_json(json_file, about, rows)


def _again(*options: str) -> list[str]:
    # Of an option given twice, the last counts.
    return [sys.executable, "-m", "ropescale_kernels.cli", *sys.argv[1:], *options]


def _restart(malloc: Malloc) -> None:
    """Run the same command again in an environment with the other malloc setting."""
    environment = report.without_malloc(os.environ)
    if malloc is Malloc.retain:
        environment |= report.RETAIN
    sys.stdout.flush()
    os.execve(sys.executable, _again(), environment)


def _run_both(json_file: Path | None) -> None:
    """Run the same command once with each malloc setting, and end with the worse exit code."""
    codes = []
    for malloc in (Malloc.default, Malloc.retain):
        options = ["--malloc", malloc.value]
        if json_file is not None:
            name = f"{json_file.stem}-{malloc.value}{json_file.suffix}"
            options += ["--json", str(json_file.with_name(name))]
        codes.append(subprocess.run(_again(*options)).returncode)
    raise typer.Exit(max(codes, key=abs))


def _cases(model: list[Model] | None, dtype: list[DType] | None, tokens: int | None) -> list[Case]:
    if model is None and dtype is None:
        wanted = [(name, kind.value) for name, kind in _DEFAULT]
    else:
        kinds = [kind.value for kind in dtype or [DType.bfloat16]]
        names = [m.value for m in model] if model else ["llama-3.1-8b"]
        wanted = list(dict.fromkeys((name, kind) for name in names for kind in kinds))
    cases = [prefill(name, kind, tokens) for name, kind in wanted]
    # One decode is enough of an overview; whoever names shapes gets both kinds of each.
    decoded = wanted[:1] if model is None and dtype is None else wanted
    return cases + [decode(name, kind) for name, kind in decoded]


def _table(case: Case, rows: list[report.Row]) -> Table:
    shape = f"q {case.nheads} x {case.head_dim}, k {case.nheads_k} x {case.head_dim}"
    table = Table(
        title=f"{case.name}  {case.dtype}  {case.seqlen} tokens  {case.bytes / 1e6:.3g} MB\n"
        f"{shape}, rotary_dim {case.rotary_dim}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in ("", "us", "p20-p80", "GB/s", "x copy", "eager", "compile", "error"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            row.entry,
            _microseconds(row.p50),
            f"{_microseconds(row.p20)}-{_microseconds(row.p80)}",
            f"{row.gb_per_s:.1f}",
            f"{row.x_copy:.2f}",
            _ratio(row.speedup_eager),
            _ratio(row.speedup_compile),
            "" if row.error is None else f"{row.error:.0e}",
        )
    return table


def _microseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}x"
