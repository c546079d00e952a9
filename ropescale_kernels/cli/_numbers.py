"""Numbers given on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typer

Number = TypeVar("Number", int, float)


def between(low: Number, high: Number) -> Callable[[Number | None], Number | None]:
    """Make a check that names the value it refuses, which Typer's own `min` and `max` do not."""

    def check(value: Number | None) -> Number | None:
        if value is not None and not low <= value <= high:
            raise typer.BadParameter(f"expected {low} to {high}, got {value}")
        return value

    return check
