"""The consoles of the commands, and their progress bar."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# A pipe has no width. Lines go to a program or a file, so no line may be cut.
_WIDTH_OF_A_PIPE = 240
_SECONDS_OF_PATIENCE = 1.0


# One console for each stream, because a bar only stays below the lines of its own console.
@lru_cache(maxsize=2)
def _console(stream: TextIO) -> Console:
    # rich itself leaves out colour if there is no terminal, and obeys NO_COLOR.
    return Console(file=stream, width=None if stream.isatty() else _WIDTH_OF_A_PIPE)


def stdout_console() -> Console:
    """Return the console of results."""
    return _console(sys.stdout)


def stderr_console() -> Console:
    """Return the console of messages beside the results."""
    return _console(sys.stderr)


class Bar:
    """Progress bar of one command; shown after a second if stderr is a terminal."""

    def __init__(self, description: str) -> None:
        wanted = sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            # If results go to the same terminal, their console has to know of the bar.
            console=stdout_console() if sys.stdout.isatty() else stderr_console(),
            transient=True,
            disable=not wanted,
        )
        self._task = self._progress.add_task(description, total=None)
        # A timer shows the bar, because a single step can take many seconds.
        self._timer = threading.Timer(_SECONDS_OF_PATIENCE, self._progress.start)
        self._timer.daemon = True
        if wanted:
            self._timer.start()

    def begin(self, total: int) -> None:
        """Set the number of steps."""
        self._progress.update(self._task, total=total)

    def advance(self, count: int = 1, description: str | None = None) -> None:
        """Move on by `count` steps, and set the description of the step at work."""
        self._progress.update(self._task, advance=count, description=description)

    def stop(self) -> None:
        """Remove the bar."""
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
