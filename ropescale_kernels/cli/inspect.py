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
            metavar="DIALECT", help=f"Dialect of the numbers and pairs: {', '.join(DIALECTS)}."
        ),
    ] = DialectName.hf,  # type: ignore[attr-defined]
    layer_type: Annotated[
        str | None, typer.Option(help="The only layer type to show. By default: every layer type.")
    ] = None,
    seq_len: Annotated[
        int | None,
        typer.Option(
            parser=tokens,
            metavar="TOKENS",
            help="Length, for rules that depend on it: 4096, or 128k.",
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
    """Show the scaling that a model's config describes, and how engines read the same config.

    A dialect is the meaning that one engine gives to the keys of a config. A pair is two channels
    that rotate together; its wavelength is the tokens of one turn. Scaling keeps the frequency of
    fast pairs, divides the frequency of slow pairs by the factor (interpolates), and blends the
    two for the pairs between.

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
            console.print(remarks(inspection))
            console.print()
            console.print(readings_table(inspection))
            console.print(pairs_table(inspection))
    if plot is not None:
        write_ramp_plot(inspections, plot)
    if json_file is not None:
        write_json(json_file, [asdict(inspection) for inspection in inspections])
