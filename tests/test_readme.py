"""README's code runs, and its figures are those of the results it names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_every_code_block_runs_in_order() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) >= 4
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert abs(namespace["scaling"].attention_factor - 1.138629436111989) < 1e-12


def test_tables_are_those_of_the_results() -> None:
    command = [sys.executable, str(ROOT / "tools" / "readme_tables.py"), "--check"]
    assert subprocess.run(command).returncode == 0


def test_figures_in_the_text_are_those_of_the_results() -> None:
    report = json.loads((ROOT / "bench" / "results" / "cpu-malloc-default.json").read_text())
    rows = {(r["case"], r["dtype"], r["entry"]): r for r in report["rows"]}

    def ratio(case: str, dtype: str, field: str) -> float:
        value: float = rows[case, dtype, "ours, in place"][field]
        return value

    narrow, wide = (("llama-3.1-8b", dtype) for dtype in ("bfloat16", "float32"))
    assert f"{ratio(*narrow, 'x_copy'):.2f} x" in TEXT
    assert f"{ratio(*wide, 'x_copy'):.2f} x" in TEXT
    faster = [round(ratio(*which, "speedup_eager")) for which in (narrow, wide)]
    assert f"{faster[0]} and {faster[1]} times faster" in TEXT
    assert f"takes {ratio('few-heads', 'bfloat16', 'x_copy'):.2f} x" in TEXT.replace("\n", " ")
    token = rows["llama-3.1-8b decode", "bfloat16", "ours, in place"]["p50"]
    assert f"about {round(token)} us" in TEXT
