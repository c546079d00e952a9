"""Files named on the command line."""

from __future__ import annotations

from pathlib import Path

import typer


def writable(path: Path | None) -> Path | None:
    """Refuse an output file whose folder does not exist, before any work is done for it."""
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"expected an existing folder, got {path.parent}")
    return path
