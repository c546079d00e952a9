"""Write README's tables and pictures from bench/results and from the code.

`python bench/report.py` writes; with `--check` it says what is stale and exits with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import runpy
import sys
import warnings
from pathlib import Path

# The same support matrix on every machine: kernels of Triton as it interprets them.
os.environ["TRITON_INTERPRET"] = "1"

import support

from ropescale_kernels.bench import plots
from ropescale_kernels.bench.cases import HEADLINE
from ropescale_kernels.bench.report import Report, Row, read_json, short

ROOT = Path(__file__).resolve().parent.parent
replaced = runpy.run_path(str(ROOT / "tools" / "generated_text.py"))["replaced"]
README = ROOT / "README.md"
RESULTS = ROOT / "bench" / "results"
PICTURES = RESULTS / "plots"
CPU = RESULTS / "cpu.json"
VERIFY = RESULTS / "verify-cpu.json"


def find(report: Report, case: str, dtype: str, malloc: str, cache: str = "hot") -> dict[str, Row]:
    """Give the rows of one case by entry."""
    return {
        row.entry: row
        for row in report.rows
        if (row.case, row.dtype, row.malloc, row.cache) == (case, dtype, malloc, cache)
        and row.layout == "contiguous"
        and (row.case != HEADLINE or row.tokens == 4096)
    }


def figures(report: Report) -> list[str]:
    """Times of the headline shape, hot, in both element types and under both mallocs."""
    lines = [
        "| malloc | entry | bfloat16 x copy | float32 x copy "
        "| times faster than eager, bf16 / fp32 | best other, times slower |",
        "|---|---|---|---|---|---|",
    ]
    for malloc in ("default", "retain"):
        narrow = find(report, HEADLINE, "bfloat16", malloc)
        wide = find(report, HEADLINE, "float32", malloc)
        for entry in dict.fromkeys([*narrow, *wide]):
            if entry in ("copy", "clone"):
                continue
            both = [rows.get(entry) for rows in (narrow, wide)]
            lines.append(
                f"| {malloc} | {entry} | "
                + " | ".join("" if row is None else f"{row.x_copy:.2f}" for row in both)
                + " | "
                + " / ".join("-" if row is None else f"{row.speedup_eager:.1f}" for row in both)
                + " | "
                + (" / ".join(_best(row) for row in both) if entry.startswith("ours") else "")
                + " |"
            )
    return lines


def _best(row: Row | None) -> str:
    return "-" if row is None else f"{row.speedup_best:.1f} ({row.best})"


def shapes(report: Report) -> list[str]:
    """Our x copy on every shape that was timed, losses included."""
    lines = [
        "| shape | tokens | in place, hot | in place, flushed | out of place, hot "
        "| out of place, flushed |",
        "|---|---|---|---|---|---|",
    ]
    found: dict[tuple[str, str, int], dict[tuple[str, str], float]] = {}
    for row in report.rows:
        if row.entry in ("ours", "ours, in place") and row.malloc == "retain":
            cells = found.setdefault((row.case, row.dtype, row.tokens), {})
            cells[row.entry, row.cache] = row.x_copy
    for (case, dtype, tokens), cells in found.items():
        values = [
            f"{cells[entry, cache]:.2f}"
            for entry in ("ours, in place", "ours")
            for cache in ("hot", "flushed")
        ]
        lines.append(f"| {case}, {dtype} | {tokens:,} | {' | '.join(values)} |")
    return lines


def calls(report: Report) -> list[str]:
    """Host overhead, memory by context and error by position of each way of rotating."""
    facts = [fact for fact in report.facts if fact.dtype == "float32"]
    contexts, positions = list(facts[0].table_bytes), list(facts[0].error)
    heads = ["", "host us", *(f"kept for {short(n)}" for n in contexts)]
    heads += [f"error at {short(p)}" for p in positions]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for fact in facts:
        cells = [fact.entry, f"{fact.host_us:.1f}"]
        cells += [f"{short(fact.table_bytes[n])}B" for n in contexts]
        cells += [f"{fact.error[p]:.0e}" for p in positions]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def accuracy() -> list[str]:
    """Errors by position of the cpu implementation, in both phases."""
    checks = json.loads(VERIFY.read_text())
    drift = {(c["position"], c["phase"]): c["drift"] for c in checks if c["impl"] == "cpu"}
    positions = sorted({position for position, _ in drift if position > 0})
    return [
        "| position | exact phase | float32 angle |",
        "|---|---|---|",
        *(f"| {p:,} | {drift[p, 'exact']:.1e} | {drift[p, 'float32']:.1e} |" for p in positions),
    ]


def support_matrix() -> list[str]:
    """What each implementation of this version serves."""
    head = f"| | {' | '.join(support.COLUMNS)} |"
    with warnings.catch_warnings():
        # Of the torch implementation's bits, and of a compiler that meets an unknown function.
        warnings.simplefilter("ignore")
        return [head, "|" + "---|" * (1 + len(support.COLUMNS)), *support.matrix()]


def rewritten(text: str, report: Report) -> str:
    """Put fresh lines between README's marks, and the headline's figure into its first sentence."""
    blocks = {
        "figures": figures(report),
        "shapes": shapes(report),
        "calls": calls(report),
        "accuracy": accuracy(),
        "support": support_matrix(),
    }
    text = replaced(text, {name: "\n".join([*lines, ""]) for name, lines in blocks.items()})
    headline = find(report, HEADLINE, "bfloat16", "default")["ours, in place"].x_copy
    text, count = re.subn(r"in \d\.\d\d of the time", f"in {headline:.2f} of the time", text)
    assert count == 1, f"README has {count} places for the headline"
    return text


def source() -> str:
    """What a picture's metadata says it was drawn from."""
    digest = hashlib.sha256(CPU.read_bytes()).hexdigest()
    return f"{CPU.relative_to(ROOT)} sha256 {digest}"


def stale_pictures() -> list[str]:
    """Name the pictures that README shows and that were not drawn from the present results."""
    names = re.findall(r"\((bench/results/plots/[\w-]+\.png)\)", README.read_text())
    assert names
    return [name for name in names if source().encode() not in (ROOT / name).read_bytes()]


def main() -> int:
    """Rewrite or check README.md and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if stale")
    arguments = parser.parse_args()
    report = read_json(CPU)
    text = README.read_text()
    fresh = rewritten(text, report)
    if not arguments.check:
        README.write_text(fresh)
        plots.write_plots(report, PICTURES, {"Source": source()})
        return 0
    stale = stale_pictures()
    if fresh != text:
        stale.insert(0, "README.md")
    for name in stale:
        print(f"stale: {name}; run `python bench/report.py`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
