"""`ropescale doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from .. import doctor as diagnosis
from ._console import stdout_console
from ._files import writable

_COLOURS = {diagnosis.OK: "green", diagnosis.NOTE: "yellow", diagnosis.PROBLEM: "bold red"}


def doctor(
    json_file: Annotated[
        Path | None,
        typer.Option("--json", callback=writable, help="Also write the findings to this file."),
    ] = None,
) -> None:
    """Say what can run here, what cannot, and why.

    Needs neither torch nor the compiled extension. Each implementation that can run rotates a
    token, and the answer is checked.

    Exits with 1 if there is a problem.

    Example: ropescale doctor --json doctor.json
    """
    findings = diagnosis.examine()
    console = stdout_console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            table.add_section()
            table.add_row(f"[bold]{topic}[/bold]")
        colour = _COLOURS[finding.status]
        # What was found is shown as it is, brackets included.
        text = finding.text.replace("[", r"\[")
        table.add_row(f"  {finding.name}", f"[{colour}]{finding.status}[/{colour}]", text)
    console.print(table)
    console.print(diagnosis.choice(), highlight=False, markup=False)
    if json_file is not None:
        json_file.write_text(json.dumps(diagnosis.as_json(findings), indent=1) + "\n")
    problems = [f for f in findings if f.status == diagnosis.PROBLEM]
    if problems:
        names = ", ".join(f"{f.topic} {f.name}" for f in problems)
        typer.echo(f"ropescale doctor: {len(problems)} found: {names}", err=True)
        raise typer.Exit(1)
