"""`ropescale doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..diagnostics import doctor as diagnosis
from ._console import stdout_console
from ._files import STDOUT, writable_or_stdout, write_json
from ._tables import new_table

_COLOURS = {diagnosis.OK: "green", diagnosis.NOTE: "yellow", diagnosis.PROBLEM: "bold red"}


def doctor(
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            callback=writable_or_stdout,
            help="Also write the findings to this file; - prints them instead of the table.",
        ),
    ] = None,
) -> None:
    """List the implementations that can run here, and the reasons why others cannot.

    Works without torch and without the compiled extension. Each implementation that can run
    rotates a token, and the result is checked.

    Exits with 1 if there is a problem.

    For example:

    ropescale doctor --json doctor.json

    ropescale doctor --json - | python -m json.tool
    """
    findings = diagnosis.examine()
    if json_file != STDOUT:
        console = stdout_console()
        console.print(_table(findings))
        console.print(diagnosis.choice(), highlight=False, markup=False)
    if json_file is not None:
        write_json(json_file, diagnosis.as_json(findings))
    problems = [f for f in findings if f.status == diagnosis.PROBLEM]
    if problems:
        names = ", ".join(f"{f.topic} {f.name}" for f in problems)
        typer.echo(f"ropescale doctor: {len(problems)} found: {names}", err=True)
        raise typer.Exit(1)


def _table(findings: list[diagnosis.Finding]) -> Table:
    table = new_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            table.add_section()
            table.add_row(Text(topic, style="bold"))
        # A Text is shown as it is. A str would lose brackets, which rich takes for markup.
        status = Text(finding.status, style=_COLOURS[finding.status])
        table.add_row(Text(f"  {finding.name}"), status, Text(finding.text))
    return table
