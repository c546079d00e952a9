"""`ropescale verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from .. import verify as verification
from ..build import build_info
from ._console import progress, stdout_console
from ._files import writable

LIMIT = 2**34


def verify(
    positions: Annotated[
        str | None,
        typer.Option(help="Positions to check, separated by commas; at most 2^34 in magnitude."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", callback=writable, help="Also write the checks to this file."),
    ] = None,
) -> None:
    """Check cos and sin of every implementation here, by position, against exact arithmetic.

    Exits with 1 if an error is above its bound or bits differ from the definition.

    Example: ropescale verify --positions 131072,1048576
    """
    chosen = verification.POSITIONS if positions is None else _parse(positions)
    console = stdout_console()
    console.print(
        f"best instruction set: {build_info().get('best_cpu_isa', 'no compiled extension')}\n"
        "error: of cos and sin before the attention factor, in the phase's own arithmetic\n"
        "from exact: distance from exact arithmetic; what a float32 angle costs\n"
        "bits: against the definition in pure Python, where equality is promised"
    )
    with progress("checking") as bar:
        bar.begin(len(chosen))
        checks = verification.verify(chosen, bar.advance)
    headings = ("impl", "phase", "position", "error", "bound", "from exact", "bits", "")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for check in checks:
        table.add_row(
            check.impl if check.isa is None else f"{check.impl} {check.isa}",
            check.phase,
            f"{check.position:,}",
            f"{check.error:.2e}",
            f"{check.bound:.0e}",
            f"{check.drift:.1e}",
            {None: "", True: "equal", False: "DIFFER"}[check.equal_bits],
            "ok" if check.passed else "FAILED",
        )
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(check) for check in checks], indent=1) + "\n")
    failed = sum(not check.passed for check in checks)
    if failed:
        typer.echo(f"ropescale verify: {failed} of {len(checks)} checks failed", err=True)
        raise typer.Exit(1)
    console.print(f"all {len(checks)} checks within bounds")


def _parse(text: str) -> tuple[int, ...]:
    values = []
    for word in text.split(","):
        try:
            value = int(word)
        except ValueError:
            raise typer.BadParameter(
                f"expected integers, got {word!r}", param_hint="'--positions'"
            ) from None
        if abs(value) > LIMIT:
            raise typer.BadParameter(
                f"expected at most 2^34 in magnitude, got {value}", param_hint="'--positions'"
            )
        values.append(value)
    return tuple(values)
