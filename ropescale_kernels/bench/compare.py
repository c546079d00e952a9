"""Comparison of a run with an earlier run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .report import Report, Row

# Properties of the machine that must agree before times of two runs can be compared.
_SAME = ("device", "cpu", "gpu", "threads", "torch", "isa")


@dataclass(frozen=True)
class Change:
    """A measurement that both runs made.

    Attributes:
        ratio: x copy now over x copy then; below 1 is faster.
        low, high: The smallest and the largest ratio that the spreads of both runs allow.
    """

    then: Row
    now: Row
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Return "faster" or "slower" if the spreads do not overlap, otherwise "same"."""
        return "faster" if self.high < 1 else "slower" if self.low > 1 else "same"


def changes(then: Report, now: Report) -> Iterator[Change]:
    """Yield a change for each row that both runs have, in the order of `now`."""
    earlier = {row.key: row for row in then.rows}
    for row in now.rows:
        before = earlier.get(row.key)
        if before is not None:
            yield Change(
                then=before,
                now=row,
                ratio=row.x_copy / before.x_copy,
                low=row.x_copy_p20 / before.x_copy_p80,
                high=row.x_copy_p80 / before.x_copy_p20,
            )


def differences(then: Report, now: Report) -> list[str]:
    """Return the differences of the two machines that bear on the times, one sentence each."""
    pairs = ((name, then.machine.get(name), now.machine.get(name)) for name in _SAME)
    return [f"{name} was {before}, is {after}" for name, before, after in pairs if before != after]
