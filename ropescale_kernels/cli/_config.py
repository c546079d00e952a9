"""The config that a command is given: a file, a folder, or stdin."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from ..scaling.config.load import config_file, load_config, read_config

STDIN = "-"
CONFIG_HELP = "A config.json, the folder of a model, or - for a config on stdin."


def config_of(source: str) -> Mapping[str, object]:
    """Return the keys of a config.

    Args:
        source: A path, or "-" for stdin.

    Raises:
        RopeScaleConfigError: If there is no JSON object to read.
        BadParameter: If stdin is closed.
    """
    if source != STDIN:
        return load_config(source)
    # Python has no stdin if the descriptor is closed.
    if sys.stdin is None:
        raise typer.BadParameter(
            "expected a config on stdin, found stdin closed", param_hint="CONFIG"
        )
    return read_config(sys.stdin.buffer, "stdin")


def file_of(source: str) -> Path:
    """Return the file that holds a config.

    Raises:
        BadParameter: For stdin.
        RopeScaleConfigError: If there is no such file.
    """
    if source == STDIN:
        raise typer.BadParameter(
            "expected a file or a folder to write to, got stdin", param_hint="--write"
        )
    return config_file(source)


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
        if path is not None and path.exists() and path.samefile(config):
            raise typer.BadParameter(
                f"expected another file than the config, got {path}", param_hint=option
            )
