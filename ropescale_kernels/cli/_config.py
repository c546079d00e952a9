"""The config that a command is given: a file, a folder, or stdin."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from ..scaling.config.load import load_config, read_config

STDIN = "-"
CONFIG_HELP = "A config.json, the folder of a model, or - for a config on stdin."


def config_of(source: str) -> Mapping[str, object]:
    """Return the keys of a config.

    Args:
        source: A path, or "-" for stdin.

    Raises:
        RopeScaleConfigError: If there is no JSON object to read.
    """
    return read_config(sys.stdin, "stdin") if source == STDIN else load_config(source)


def file_of(source: str) -> Path:
    """Return the file that a config was read from.

    Raises:
        BadParameter: For stdin.
    """
    if source == STDIN:
        raise typer.BadParameter("expected a file or a folder to write to, got stdin")
    path = Path(source)
    return path / "config.json" if path.is_dir() else path


def refuse_the_config(source: str, outputs: Mapping[str, Path | None]) -> None:
    """Refuse to write anything else over the config.

    Args:
        source: A path, or "-" for stdin.
        outputs: Files to write, by option.

    Raises:
        BadParameter: If an output is the config.
    """
    if source == STDIN:
        return
    config = file_of(source)
    for option, path in outputs.items():
        if path is not None and path.exists() and config.exists() and path.samefile(config):
            raise typer.BadParameter(
                f"expected another file than the config, got {path}", param_hint=option
            )
