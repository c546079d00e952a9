"""Where the commands print, and how they say that work goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# A pipe has no width: lines are for a program to read, or for a file, and none is cut.
_WIDTH_OF_A_PIPE = 240
_SECONDS_OF_PATIENCE = 1.0


def _console(stream: TextIO) -> Console:
    # rich itself leaves out colour where there is no terminal, and heeds NO_COLOR.
    return Console(file=stream, width=None if stream.isatty() else _WIDTH_OF_A_PIPE)


def stdout_console() -> Console:
    """Console of results."""
    return _console(sys.stdout)


def stderr_console() -> Console:
    """Console of what is said beside them."""
    return _console(sys.stderr)


class Bar:
    """Progress of one command; shown on a terminal, once it has taken a second."""

    def __init__(self, description: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=stderr_console(),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(description, total=None)
        self._patient_until = time.monotonic() + _SECONDS_OF_PATIENCE
        self._shown = False

    def begin(self, total: int) -> None:
        """Say how much there is to do."""
        self._progress.update(self._task, total=total)

    def advance(self, count: int = 1, description: str | None = None) -> None:
        """Say that `count` more is done, and what is being done now."""
        if not self._shown and time.monotonic() > self._patient_until:
            self._progress.start()
            self._shown = True
        self._progress.update(self._task, advance=count, description=description)

    def stop(self) -> None:
        """Take the bar away."""
        if self._shown:
            self._progress.stop()


@contextmanager
def progress(description: str) -> Iterator[Bar]:
    """Show a bar on stderr while the block runs."""
    bar = Bar(description)
    try:
        yield bar
    finally:
        bar.stop()
