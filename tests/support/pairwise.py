"""Parametrisation by pairs of values instead of by their whole product."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def pairwise(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return rows in which each value of an axis meets each value of every other axis.

    A mistake in one value, or in two values together, still meets a row. The choice is greedy and
    the same in every process, as pytest-xdist wants it.
    """
    sizes = [range(len(axis)) for axis in axes]
    missing = {
        (i, x, j, y)
        for i, j in itertools.combinations(range(len(axes)), 2)
        for x, y in itertools.product(sizes[i], sizes[j])
    }

    def pairs(row: tuple[int, ...]) -> set[tuple[int, int, int, int]]:
        chosen = enumerate(row)
        return {(i, x, j, y) for (i, x), (j, y) in itertools.combinations(chosen, 2)}

    rows = []
    while missing:
        best = max(itertools.product(*sizes), key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        rows.append(tuple(axis[x] for axis, x in zip(axes, best, strict=True)))
    return rows
