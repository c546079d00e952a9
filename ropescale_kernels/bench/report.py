"""The result of a run: rows, call costs of each contender, and the JSON file that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RopeScaleValueError, expected

SCHEMA = 3
# "<contender>: <reason>" to the cases that it was left out of; to none if it cannot run at all.
LeftOut = dict[str, list[str]]


@dataclass(frozen=True)
class Row:
    """One contender, measured on one case; times in microseconds.

    Attributes:
        cache: "hot"; "flushed" if the caches held other data before each call; "graph" for one call
            of a CUDA graph of many calls, each on buffers of its own, with hot caches.
        device: Name of the card, or of the processor.
        malloc: Treatment of freed memory by malloc: "default", "retain" or "custom".
        entry: Name of the contender.
        host_bound: Whether the device waited for the host to queue the calls. The times are then
            the host's.
        floor: The copy bound of `x_copy`, which moves the same bytes in the same way: "copy";
            "clone" if the call allocates its output; "pass in place" for calls in place on a
            device.
        x_copy: Time over the time of the copy bound, the median over the rounds of the run.
        x_copy_p20, x_copy_p80: The 20 % and the 80 % quantile of `x_copy`.
        speedup_eager: Transformers' eager time over this time; None if it was not timed.
        speedup_compile: The time of the fastest torch.compile over this time; None likewise.
        speedup_best: The time of the fastest contender that is not ours over this time; None
            likewise.
        best: Name of that contender.
        error: Largest absolute difference from float64; None for a copy bound.
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
        """Return the key that the same measurement has in every run."""
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
class CallCost:
    """Costs of a contender that do not depend on the case: overhead, memory, accuracy.

    Attributes:
        entry: Name of the contender.
        host_us: Microseconds from calling to returning, with one token of one head of q and of k.
        table_bytes: Bytes kept between calls (cos and sin, or frequencies), by context length.
        error: Largest absolute error of cos and sin in `dtype`, by position. The attention factor
            is included.
    """

    entry: str
    dtype: str
    host_us: float
    table_bytes: dict[int, int]
    error: dict[int, float]


@dataclass
class Report:
    """The result of a run.

    Attributes:
        machine: Properties of the machine, from `machine.machine`.
        peers: Version of each contender's package, by name; None for torch's and ours.
        left_out: Contenders that were not timed, with reasons.
        rows: Times, by case and contender.
        facts: Call costs, by contender and dtype.
        complete: Whether every case was timed. False for the report of a run that was stopped.
    """

    machine: dict[str, Any]
    peers: dict[str, str | None] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    facts: list[CallCost] = field(default_factory=list)
    complete: bool = False


def write_json(path: Path, report: Report) -> None:
    """Write a report, whole or not at all: one line for each row, numbers with six digits."""
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
    """Return the report in a file that `write_json` wrote.

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
            facts=[_call_cost(cost) for cost in found["facts"]],
            complete=found["complete"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = f"a report of `ropescale bench --json` (schema {SCHEMA})"
        reason = f"no key {error}" if isinstance(error, KeyError) else error
        raise RopeScaleValueError(
            expected("report", wanted, f"{path}: {reason or type(error).__name__}")
        ) from error


def _call_cost(found: dict[str, Any]) -> CallCost:
    # JSON has no integer keys.
    for name in ("table_bytes", "error"):
        found[name] = {int(key): value for key, value in found[name].items()}
    return CallCost(**found)


def merged(reports: Iterable[Report]) -> Report:
    """Return one report with the rows of several runs on one machine.

    The call costs are those of the last run, because the machine was warm by then.
    """
    whole, *others = reports
    for other in others:
        whole.rows += other.rows
        whole.facts = other.facts
        whole.complete = whole.complete and other.complete
        add_left_out(whole.left_out, other.left_out)
    return whole


def add_left_out(whole: LeftOut, more: LeftOut) -> None:
    """Add cases to the cases that were left out, each case once."""
    for reason, cases in more.items():
        known = whole.setdefault(reason, [])
        known += [case for case in cases if case not in known]


def short(count: int) -> str:
    """Return a count in few letters: 32k for 32768 and 32767, 10M for 9999991."""
    for unit, name in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if count >= unit - 1:
            return f"{count / unit:.0f}{name}"
    return str(count)
