"""Where the commands print, and how they say that work goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# A pipe has no width: lines are for a program to read, or for a file, and none is cut.
_WIDTH_OF_A_PIPE = 240
_SECONDS_OF_PATIENCE = 1.0


# One console for a stream: what it prints while a bar is up goes above the bar.
@lru_cache(maxsize=2)
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
    """Progress of one command; shown where stderr is a terminal, once it has taken a second."""

    def __init__(self, description: str) -> None:
        wanted = sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            # Where results go to the same terminal, their console has to know of the bar.
            console=stdout_console() if sys.stdout.isatty() else stderr_console(),
            transient=True,
            disable=not wanted,
        )
        self._task = self._progress.add_task(description, total=None)
        # A timer, because a single step can take longer than anyone is patient.
        self._timer = threading.Timer(_SECONDS_OF_PATIENCE, self._progress.start)
        self._timer.daemon = True
        if wanted:
            self._timer.start()

    def begin(self, total: int) -> None:
        """Say how much there is to do."""
        self._progress.update(self._task, total=total)

    def advance(self, count: int = 1, description: str | None = None) -> None:
        """Say that `count` more is done, and what is being done now."""
        self._progress.update(self._task, advance=count, description=description)

    def stop(self) -> None:
        """Take the bar away."""
        if self._timer.ident is not None:
            self._timer.cancel()
            self._timer.join()
            self._progress.stop()


@contextmanager
def progress(description: str) -> Iterator[Bar]:
    """Show a bar on stderr while the block runs."""
    bar = Bar(description)
    try:
        yield bar
    finally:
        bar.stop()
