"""Files named on the command line."""

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
    """Like `writable`; "-" is stdout."""
    return path if path == STDOUT else writable(path)


def write_json(path: Path, content: Any) -> None:
    """Write to a file, or to stdout for "-"."""
    text = json.dumps(content, indent=1) + "\n"
    if path == STDOUT:
        sys.stdout.write(text)
        # Here, where a failure is still told in one line, and not when the process ends.
        sys.stdout.flush()
    else:
        path.write_text(text)


def writable(path: Path | None) -> Path | None:
    """Refuse an output file that cannot be written, before any work is done for it."""
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
    """Refuse a folder that cannot be made or written into, before any work is done for it."""
    if path is None:
        return None
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise typer.BadParameter(f"expected a folder, got the file {there}")
    if not os.access(there, os.W_OK):
        raise typer.BadParameter(f"expected a place that can be written, got {path}")
    return path


def need_matplotlib() -> None:
    """Refuse to draw where that cannot be done, before any work is done for it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise typer.BadParameter(
            "expected matplotlib, found none; pip install 'ropescale_kernels[plot]'",
            param_hint="--plot",
        )
