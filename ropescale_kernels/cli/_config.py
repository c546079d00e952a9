"""The config that a command is given: a file, a folder, or stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from ..errors import RopeScaleConfigError, expected
from ..scaling.config_file import load_config

STDIN = "-"
CONFIG_HELP = "A config.json, the folder of a model, or - for a config on stdin."
# What a config on stdin is called where a file would have a name.
_MAX_CHARACTERS = 64 * 2**20


def read_config(source: str) -> Mapping[str, object]:
    """Return the keys of a config.

    Args:
        source: A path, or "-" for stdin.

    Raises:
        RopeScaleConfigError: If there is no JSON object to read.
    """
    if source != STDIN:
        return load_config(source)
    try:
        found = json.loads(sys.stdin.read(_MAX_CHARACTERS))
    except (ValueError, RecursionError) as error:
        got = f"{type(error).__name__}: {error}"
        raise RopeScaleConfigError(expected("config", "valid JSON on stdin", got)) from error
    if not isinstance(found, Mapping):
        got = type(found).__name__
        raise RopeScaleConfigError(expected("config", "an object of keys and values", got))
    return found


def file_of(source: str) -> Path:
    """Return the file that a config was read from.

    Raises:
        BadParameter: For stdin.
    """
    if source == STDIN:
        raise typer.BadParameter("expected a file or a folder to write to, got stdin")
    path = Path(source)
    return path / "config.json" if path.is_dir() else path
