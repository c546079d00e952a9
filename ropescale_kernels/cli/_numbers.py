"""Numbers of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

import typer

_UNITS = {"": 1, "k": 2**10, "m": 2**20}
_LONGEST = 2**53

Number = TypeVar("Number", int, float)


def between(low: Number, high: Number) -> Callable[[str | Number], Number]:
    """Return a parser of numbers in a range. Its message names the text; those of Typer do not."""

    def parse(text: str | Number) -> Number:
        try:
            value = type(low)(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise typer.BadParameter(f"expected {low} to {high}, got {text or repr(text)}")
        return value

    return parse


def tokens(text: str) -> int:
    """Return a number of tokens: 131072 or 131,072, or in units of 1024: 128k, 1m, 1.5m."""
    bare = text.strip().lower().replace(",", "").replace("_", "")
    found = re.fullmatch(r"([0-9]{1,16}(?:\.[0-9]{1,6})?)([km]?)", bare)
    count = Fraction(0) if found is None else Fraction(found[1]) * _UNITS[found[2]]
    if not 1 <= count <= _LONGEST or count.denominator != 1:
        raise typer.BadParameter(
            f"expected a number of tokens such as 131072, 128k or 1m, got {text or repr(text)}"
        )
    return int(count)
