"""What a run leaves: rows, facts about each way of rotating, and the JSON that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RopeScaleValueError, expected

SCHEMA = 3
# "<way of rotating>: <reason>" to the cases it was left out of, or to none where it cannot run.
LeftOut = dict[str, list[str]]


@dataclass(frozen=True)
class Row:
    """One way of rotating, measured on one case; times in microseconds.

    Attributes:
        cache: "hot"; "flushed" where the caches held other data before each call; "graph" for one
            call of a CUDA graph that makes many, each on buffers of its own, hot.
        device: Name of the card, or of the processor.
        malloc: What malloc did with freed memory: "default", "retain" or "custom".
        host_bound: Whether the device waited for the host to queue the calls, so that the times
            are the host's.
        floor: The entry that `x_copy` is over, because it moves the same bytes in the same way:
            "copy"; "clone" where the call allocates its output; "pass in place" for calls in place
            on a device.
        x_copy: Time over the time of the floor, the median over the rounds of the run.
        x_copy_p20, x_copy_p80: Its spread.
        speedup_eager: Transformers' eager time over this one, or None where it was not run.
        speedup_compile: The time of the fastest torch.compile over this one, or None.
        speedup_best: The time of the fastest that is not ours over this one, or None.
        best: Which one that was.
        error: Largest absolute difference from float64, or None for a copy.
    """

    case: str
    model: str
    dtype: str
    layout: str
    tokens: int
    context: int
    cache: str
    device: str
    malloc: str
    entry: str
    bytes: int
    p50: float
    p20: float
    p80: float
    samples: int
    host_bound: bool
    gb_per_s: float
    floor: str
    x_copy: float
    x_copy_p20: float
    x_copy_p80: float
    speedup_eager: float | None
    speedup_compile: float | None
    speedup_best: float | None
    best: str | None
    error: float | None

    @property
    def key(self) -> tuple[str, ...]:
        """What names the same measurement in another run."""
        return (
            self.model,
            self.dtype,
            self.layout,
            f"{self.tokens} tokens",
            f"context {self.context}",
            self.cache,
            self.malloc,
            self.entry,
        )


@dataclass(frozen=True)
class Fact:
    """What does not depend on the case: the price of a call, of a long context, and exactness.

    Attributes:
        host_us: Microseconds from calling to returning with one token of one head of q and of k,
            when there is next to nothing to do.
        table_bytes: Context length to bytes of cos and sin (or frequencies) that are kept for it.
        error: Position to the largest absolute error of cos and sin there, attention factor
            included, in `dtype`.
    """

    entry: str
    dtype: str
    host_us: float
    table_bytes: dict[int, int]
    error: dict[int, float]


@dataclass
class Report:
    """A run.

    Attributes:
        machine: As `machine.machine` gives it.
        peers: Name of a way of rotating to its package's version (None: torch's or ours).
        left_out: What was not timed, and why.
        complete: Whether every case was timed; not so for what a run that was stopped has kept.
    """

    machine: dict[str, Any]
    peers: dict[str, str | None] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    complete: bool = False


def write_json(path: Path, report: Report) -> None:
    """Write a report, whole or not at all: a line for each row, numbers to six digits."""
    found = {"schema": SCHEMA} | _rounded(asdict(report))
    rows = ",\n".join(f"  {json.dumps(row)}" for row in found.pop("rows"))
    text = json.dumps(found, indent=1).removesuffix("\n}")
    fresh = path.with_name(path.name + ".part")
    fresh.write_text(f'{text},\n "rows": [\n{rows}\n ]\n}}\n')
    fresh.replace(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def read_json(path: Path) -> Report:
    """Read a report that `write_json` wrote.

    Raises:
        RopeScaleValueError: The file is not such a report.
    """
    try:
        found = json.loads(path.read_text())
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']}")
        return Report(
            machine=found["machine"],
            peers=found["peers"],
            left_out=found["left_out"],
            rows=[Row(**row) for row in found["rows"]],
            facts=[_fact(fact) for fact in found["facts"]],
            complete=found["complete"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = f"a report of `ropescale bench --json` (schema {SCHEMA})"
        raise RopeScaleValueError(
            expected("report", wanted, f"{path}: {error or type(error).__name__}")
        ) from error


def _fact(found: dict[str, Any]) -> Fact:
    # JSON has no integer keys.
    for name in ("table_bytes", "error"):
        found[name] = {int(key): value for key, value in found[name].items()}
    return Fact(**found)


def merged(reports: Iterable[Report]) -> Report:
    """Put the rows of runs on one machine into one report.

    The facts are the last run's, which was as warm as can be.
    """
    whole, *others = reports
    for other in others:
        whole.rows += other.rows
        whole.facts = other.facts
        whole.complete = whole.complete and other.complete
        add_left_out(whole.left_out, other.left_out)
    return whole


def add_left_out(whole: LeftOut, more: LeftOut) -> None:
    """Add to what was left out, each case once."""
    for reason, cases in more.items():
        known = whole.setdefault(reason, [])
        known += [case for case in cases if case not in known]


def short(count: int) -> str:
    """Write a count in few letters: 32768 and 32767 as 32k, 9999991 as 10M."""
    for unit, name in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if count >= unit - 1:
            return f"{count / unit:.0f}{name}"
    return str(count)
