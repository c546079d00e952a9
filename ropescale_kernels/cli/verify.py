"""`ropescale verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..diagnostics import verify as verification
from ..diagnostics.build_info import build_info
from ._console import progress, stdout_console
from ._files import STDOUT, writable_or_stdout, write_json
from ._tables import new_table

LIMIT = 2**34


def verify(
    positions: Annotated[
        str | None,
        typer.Option(help="Positions to check, separated by commas; at most 2^34 in magnitude."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            callback=writable_or_stdout,
            help="Also write the checks to this file; - prints them instead of the table.",
        ),
    ] = None,
) -> None:
    """Check cos and sin of every implementation here, by position, against exact arithmetic.

    Exits with 1 if an error is above its bound or bits differ from the definition.

    For example:

    ropescale verify --positions 131072,1048576

    ropescale verify --json checks.json
    """
    chosen = verification.POSITIONS if positions is None else _parse(positions)
    console = stdout_console()
    # If the checks go to stdout as JSON, no other text may.
    shown = json_file != STDOUT
    if shown:
        console.print(
            f"best instruction set: {build_info().get('best_cpu_isa', 'no compiled extension')}\n"
            "error: of cos and sin, before the attention factor, at the angle of the phase\n"
            "from exact: of cos and sin at the exact angle; phase float32 rounds the angle\n"
            "bits: equal to those of the definition in pure Python, if that is promised"
        )
    with progress("checking") as bar:
        bar.begin(len(chosen))
        checks = verification.verify(chosen, bar.advance)
    if shown:
        console.print(_table(checks))
    if json_file is not None:
        write_json(json_file, [asdict(check) for check in checks])
    failed = sum(not check.passed for check in checks)
    if failed:
        typer.echo(f"ropescale verify: {failed} of {len(checks)} checks failed", err=True)
        raise typer.Exit(1)
    if shown:
        console.print(f"all {len(checks)} checks within bounds")


def _table(checks: list[verification.Check]) -> Table:
    headings = ("impl", "phase", "position", "error", "bound", "from exact", "bits", "")
    table = new_table()
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
    return table


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
