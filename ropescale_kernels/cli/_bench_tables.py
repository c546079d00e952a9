"""The tables that `ropescale bench` prints."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.table import Table

from ..bench.cases import Case
from ..bench.compare import Change
from ..bench.report import CallCost, Row, short
from ._tables import new_table


def _table(title: str, headings: Iterable[str]) -> Table:
    table = new_table(title)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    return table


def case_table(case: Case, rows: list[Row]) -> Table:
    """Return the table of one case: rows with hot caches first."""
    heads = f"q {case.nheads} x {case.head_dim}, k {case.nheads_k} x {case.head_dim}"
    tokens = "1 token" if case.tokens == 1 else f"{case.tokens} tokens"
    table = _table(
        f"{case.name}  {case.dtype}  {tokens}  {case.bytes / 1e6:.3g} MB\n"
        f"{heads}, rotary_dim {case.rotary_dim}\n{rows[0].device}",
        ("", "us", "p20-p80", "GB/s", "x copy", "eager", "compile", "best other", "error"),
    )
    for cache, group in groupby(rows, key=lambda row: row.cache):
        table.add_section()
        table.add_row(f"[bold]{_CACHES[cache]}[/bold]")
        for row in group:
            table.add_row(
                row.entry,
                _microseconds(row.p50) + " (host)" * row.host_bound,
                f"{_microseconds(row.p20)}-{_microseconds(row.p80)}",
                f"{row.gb_per_s:.1f}",
                f"{row.x_copy:.2f}",
                _ratio(row.speedup_eager),
                _ratio(row.speedup_compile),
                "" if row.best in (None, row.entry) else f"{_ratio(row.speedup_best)} {row.best}",
                "" if row.error is None else f"{row.error:.0e}",
            )
    return table


_CACHES = {
    "hot": "caches hot",
    "flushed": "caches flushed",
    "graph": "one call of many in a CUDA graph, caches hot",
}


def call_costs_table(costs: list[CallCost]) -> Table:
    """Return the table of the costs that do not depend on the case."""
    contexts = list(costs[0].table_bytes)
    positions = list(costs[0].error)
    table = _table(
        "host: microseconds of a call with one token of one head; kept: bytes for a context;\n"
        "error: of cos and sin at a position, the attention factor included",
        (
            "",
            "dtype",
            "host us",
            *(f"kept {short(context)}" for context in contexts),
            *(f"error {short(position)}" for position in positions),
        ),
    )
    for cost in costs:
        table.add_row(
            cost.entry,
            cost.dtype,
            _microseconds(cost.host_us),
            *(short(cost.table_bytes[context]) for context in contexts),
            *(f"{cost.error[position]:.0e}" for position in positions),
        )
    return table


def changes_table(found: list[Change], name: str) -> Table:
    """Return the table that compares a run with an earlier run."""
    table = _table(
        f"against {name}. ratio: x copy now over x copy then; low-high: the ratio at the\n"
        "ends of both spreads within a run. Another place in memory can change a time by more",
        ("", "case", "caches", "us then", "us now", "x copy", "x now", "ratio", "low-high", ""),
    )
    for change in found:
        then, row = change.then, change.now
        table.add_row(
            row.entry,
            f"{row.case} {row.dtype} {row.tokens}",
            row.cache,
            _microseconds(then.p50),
            _microseconds(row.p50),
            f"{then.x_copy:.2f}",
            f"{row.x_copy:.2f}",
            f"{change.ratio:.2f}",
            f"{change.low:.2f}-{change.high:.2f}",
            "" if change.verdict == "same" else change.verdict,
        )
    return table


def _microseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}x"
