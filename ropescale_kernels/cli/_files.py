"""Files that the command line names."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import typer

STDOUT = Path("-")


def writable_or_stdout(path: Path | None) -> Path | None:
    """Return the path as `writable` does; "-" is stdout."""
    return path if path == STDOUT else writable(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON to a file, or to stdout for "-"."""
    text = json.dumps(content, indent=1) + "\n"
    if path == STDOUT:
        sys.stdout.write(text)
        # A failure of this flush becomes a one-line error; a failure at exit would not.
        sys.stdout.flush()
    else:
        path.write_text(text)


def writable(path: Path | None) -> Path | None:
    """Return the path of an output file; refuse it before any work if it cannot be written."""
    if path is None:
        return None
    if not path.parent.is_dir():
        raise typer.BadParameter(f"expected an existing folder, got {path.parent}")
    if path.is_dir():
        raise typer.BadParameter(f"expected a file, got the folder {path}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise typer.BadParameter(f"expected a place that can be written, got {path}")
    return path


def writable_folder(path: Path | None) -> Path | None:
    """Return the path of a folder; refuse it before any work if it cannot be written into."""
    if path is None:
        return None
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise typer.BadParameter(f"expected a folder, got the file {there}")
    if not os.access(there, os.W_OK):
        raise typer.BadParameter(f"expected a place that can be written, got {path}")
    return path


def need_matplotlib() -> None:
    """Refuse to draw, before any work, if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise typer.BadParameter(
            "expected matplotlib, found none; pip install 'ropescale_kernels[plot]'",
            param_hint="--plot",
        )
