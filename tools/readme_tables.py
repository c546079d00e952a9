"""Write README's tables of figures from bench/results; `--check` fails where they differ."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
ENTRIES = (
    "ours, in place",
    "ours",
    "unfused torch ops",
    "Transformers eager",
    "torch.compile",
    "torch.compile, whole",
)


def figures() -> list[str]:
    """Rows of the table of times, for the headline shape."""
    lines = []
    for malloc in ("default", "retain"):
        report = json.loads((RESULTS / f"cpu-malloc-{malloc}.json").read_text())
        assert report["machine"]["malloc"] == malloc
        rows: dict[tuple[str, str], Any] = {
            (row["dtype"], row["entry"]): row
            for row in report["rows"]
            if row["case"] == "llama-3.1-8b"
        }
        for entry in ENTRIES:
            narrow, wide = rows["bfloat16", entry], rows["float32", entry]
            lines.append(
                f"| {malloc} | {entry} | {narrow['x_copy']:.2f} | {wide['x_copy']:.2f} | "
                f"{narrow['speedup_eager']:.1f} / {wide['speedup_eager']:.1f} |"
            )
    return lines


def accuracy() -> list[str]:
    """Rows of the table of errors by position, of the cpu implementation."""
    checks = json.loads((RESULTS / "verify-cpu.json").read_text())
    drift = {(c["position"], c["phase"]): c["drift"] for c in checks if c["impl"] == "cpu"}
    positions = sorted({position for position, _ in drift if position > 0})
    return [f"| {p:,} | {drift[p, 'exact']:.1e} | {drift[p, 'float32']:.1e} |" for p in positions]


def rewritten(text: str) -> str:
    """Put fresh rows below the two tables' heads."""
    heads = {
        r"(\| `ropescale bench --malloc` .*\n\|[-|]+\n)(?:\|.*\n|@.*\n)*": figures(),
        r"(\| position \| exact phase .*\n\|[-|]+\n)(?:\|.*\n|@.*\n)*": accuracy(),
    }
    for pattern, lines in heads.items():
        body = "\n".join(lines)
        text, count = re.subn(pattern, lambda m, body=body: f"{m.group(1)}{body}\n", text)
        assert count == 1, pattern
    return text


def main() -> int:
    """Rewrite or check README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    fresh = rewritten(text)
    if "--check" in sys.argv:
        return int(fresh != text)
    readme.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
