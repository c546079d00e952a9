"""A run against an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .report import Report, Row

# What must agree for the times to mean anything side by side.
_SAME = ("device", "cpu", "gpu", "threads", "torch", "isa")


@dataclass(frozen=True)
class Change:
    """One measurement in both runs.

    Attributes:
        ratio: x copy now over x copy then: below 1 is faster.
        low, high: The ratio at the near and far ends of both spreads.
    """

    then: Row
    now: Row
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What can be said: "faster" or "slower" only where the spreads do not overlap."""
        return "faster" if self.high < 1 else "slower" if self.low > 1 else "same"


def changes(then: Report, now: Report) -> Iterator[Change]:
    """Pair up the rows that measure the same, in the order of `now`."""
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
    """Say in what the two machines differ that bears on the times."""
    pairs = ((name, then.machine.get(name), now.machine.get(name)) for name in _SAME)
    return [f"{name} was {before}, is {after}" for name, before, after in pairs if before != after]
