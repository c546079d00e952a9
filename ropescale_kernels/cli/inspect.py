"""`ropescale inspect`."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..planner.inspect import inspect_config
from ..planner.inspect_plot import write_ramp_plot
from ..scaling.config.dialects import DIALECTS
from ._config import CONFIG_HELP, config_of, refuse_the_config
from ._console import stdout_console
from ._files import STDOUT, need_matplotlib, writable, writable_or_stdout, write_json
from ._inspect_tables import numbers_table, pairs_table, readings_table, remarks
from ._numbers import tokens

DialectName = Enum("DialectName", {name: name for name in DIALECTS}, type=str)  # type: ignore[misc]

_PICTURES = (".png", ".svg", ".pdf")


def inspect(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help=CONFIG_HELP)],
    dialect: Annotated[
        DialectName,
        typer.Option(
            metavar="DIALECT", help=f"Whose numbers and pairs to show: {', '.join(DIALECTS)}."
        ),
    ] = DialectName.hf,  # type: ignore[attr-defined]
    layer_type: Annotated[
        str | None, typer.Option(help="The only layer type to show; by default all that differ.")
    ] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(
            parser=tokens, metavar="TOKENS", help="Length, for rules that follow it: 4096, or 128k."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(callback=writable, help="Also draw the pairs into this file (.png, .svg)."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            callback=writable_or_stdout,
            help="Also write everything to this file; - prints it instead of the tables.",
        ),
    ] = None,
) -> None:
    """Show what a model's config resolves to, and what every dialect makes of it.

    A pair's wavelength is the tokens of one turn. Scaling keeps fast pairs, divides the frequency
    of slow ones by the factor (interpolates), and blends between.

    For example:

    ropescale inspect Qwen3-8B/config.json --plot ramp.png

    ropescale inspect - --json - < config.json
    """
    if plot is not None and plot.suffix not in _PICTURES:
        raise typer.BadParameter(
            f"expected a file name that ends in .png, .svg or .pdf, got {plot}",
            param_hint="--plot",
        )
    if plot is not None:
        need_matplotlib()
    refuse_the_config(config, {"--json": json_file, "--plot": plot})
    inspections = inspect_config(config_of(config), dialect.value, layer_type, seq_len)
    if json_file != STDOUT:
        console = stdout_console()
        for inspection in inspections:
            console.print(numbers_table(inspection))
            console.print(pairs_table(inspection))
            console.print(readings_table(inspection))
            console.print(remarks(inspection))
    if plot is not None:
        write_ramp_plot(inspections, plot)
    if json_file is not None:
        write_json(json_file, [asdict(inspection) for inspection in inspections])
