"""Tables of the figures in bench/results: bench/results/cpu.json and verify-cpu.json."""

from __future__ import annotations

import json
from collections.abc import Container
from functools import cache
from statistics import median

from ropescale_kernels.bench.cases import HEADLINE
from ropescale_kernels.bench.report import Report, Row, read_json, short

from .marks import ROOT, table

CPU = ROOT / "bench" / "results" / "cpu.json"
VERIFY = ROOT / "bench" / "results" / "verify-cpu.json"
TRITON_LAUNCH = ROOT / "bench" / "results" / "triton-launch.json"


@cache
def report() -> Report:
    """Return the report of the CPU bench."""
    return read_json(CPU)


def find(case: str, dtype: str, malloc: str) -> dict[str, Row]:
    """Return the rows of one case with hot caches, by entry."""
    return {
        row.entry: row
        for row in report().rows
        if (row.case, row.dtype, row.malloc, row.cache) == (case, dtype, malloc, "hot")
        and row.layout == "contiguous"
        and (row.case != HEADLINE or row.tokens == 4096)
    }


def headline(malloc: str) -> float:
    """Return the time in the first sentence of README, over the time of a copy."""
    return find(HEADLINE, "bfloat16", malloc)["ours, in place"].x_copy


def machine() -> str:
    """Return the machine and the versions behind the figures."""
    about = report().machine
    peers = [f"{name} {version}" for name, version in report().peers.items() if version]
    spread = median((row.x_copy_p80 - row.x_copy_p20) / row.x_copy for row in report().rows)
    return (
        f"{about['cpu']}, {about['threads']} threads, {about['isa']}; torch {about['torch']}; "
        f"{'; '.join(peers)}. Within the run, the 20th and the 80th percentile of a ratio are "
        f"{spread:.0%} apart (the median over all rows).\n"
    )


def figures() -> str:
    """Return times of the headline shape, hot, in both element types and under both mallocs."""
    headings = [
        "malloc",
        "entry",
        "bfloat16 x copy",
        "float32 x copy",
        "times faster than eager, bf16 / fp32",
        "best other, times slower",
    ]
    rows = []
    for malloc in ("default", "retain"):
        narrow = find(HEADLINE, "bfloat16", malloc)
        wide = find(HEADLINE, "float32", malloc)
        for entry in dict.fromkeys([*narrow, *wide]):
            if entry in ("copy", "clone"):
                continue
            both = [found.get(entry) for found in (narrow, wide)]
            rows.append(
                [
                    malloc,
                    entry,
                    *("" if row is None else f"{row.x_copy:.2f}" for row in both),
                    " / ".join("-" if row is None else f"{row.speedup_eager:.1f}" for row in both),
                    " / ".join(_best(row) for row in both) if entry.startswith("ours") else "",
                ]
            )
    return table(headings, rows)


def _best(row: Row | None) -> str:
    return "-" if row is None else f"{row.speedup_best:.1f} ({row.best})"


def shapes() -> str:
    """Return our time over a copy's on every shape that was timed, losses included."""
    headings = [
        "shape",
        "tokens",
        "in place, hot",
        "in place, flushed",
        "out of place, hot",
        "out of place, flushed",
    ]
    found: dict[tuple[str, str, int], dict[tuple[str, str], float]] = {}
    for row in report().rows:
        if row.entry in ("ours", "ours, in place") and row.malloc == "retain":
            cells = found.setdefault((row.case, row.dtype, row.tokens), {})
            cells[row.entry, row.cache] = row.x_copy
    columns = [
        (entry, caches) for entry in ("ours, in place", "ours") for caches in ("hot", "flushed")
    ]
    rows = [
        [f"{case}, {dtype}", f"{tokens:,}", *(f"{cells[column]:.2f}" for column in columns)]
        for (case, dtype, tokens), cells in found.items()
    ]
    return table(headings, rows)


def calls() -> str:
    """Return host overhead, memory by context and error by position of each contender."""
    facts = [fact for fact in report().facts if fact.dtype == "float32"]
    contexts, positions = list(facts[0].table_bytes), list(facts[0].error)
    headings = ["", "host us", *(f"kept for {short(n)}" for n in contexts)]
    headings += [f"error at {short(p)}" for p in positions]
    rows = []
    for fact in facts:
        cells = [fact.entry, f"{fact.host_us:.1f}"]
        cells += [f"{short(fact.table_bytes[n])}B" for n in contexts]
        cells += [f"{fact.error[p]:.0e}" for p in positions]
        rows.append(cells)
    return table(headings, rows)


def accuracy(positions: Container[int] | None = None) -> str:
    """Return errors of the cpu implementation in both phases, at these or all positions >= 0."""
    checks = json.loads(VERIFY.read_text())
    drift = {(c["position"], c["phase"]): c["drift"] for c in checks if c["impl"] == "cpu"}
    rows = [
        [f"{p:,}", f"{drift[p, 'exact']:.1e}", f"{drift[p, 'float32']:.1e}"]
        for p in sorted({position for position, _ in drift if position > 0})
        if positions is None or p in positions
    ]
    return table(["position", "exact phase", "float32 angle"], rows)


def bound() -> str:
    """Return the bound that `ropescale verify` enforces on the exact phase."""
    checks = json.loads(VERIFY.read_text())
    (found,) = {c["bound"] for c in checks if (c["impl"], c["phase"]) == ("cpu", "exact")}
    return f"`ropescale verify` fails if an error of the exact phase exceeds {found:.0e}.\n"


def triton_launch() -> str:
    """Return what the host does for one launch of a Triton kernel."""
    found = json.loads(TRITON_LAUNCH.read_text())
    names = {
        "launch_us": "from a checked call to Triton's launcher",
        "in_place_us": "`apply_rotary_qk_`, checks included",
        "allocating_us": "`apply_rotary_qk`, checks and outputs included",
        "two_empty_like_us": "the two outputs alone",
    }
    return table(["host work", "us"], [[names[key], f"{us:.1f}"] for key, us in found.items()])
