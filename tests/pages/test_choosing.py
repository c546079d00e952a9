"""docs/choosing.md: tables of this code, an example that runs, known numbers of the engines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from tools import engine_cases
from tools.pages import choosing

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "choosing.md").read_text()


def test_the_configs_of_the_columns_are_held_against_the_engines() -> None:
    held = list(engine_cases.CASES.values())
    for heading, config in [*choosing.COLUMNS.items(), *choosing.MLA.items()]:
        assert config in held, heading


def test_known_magnitudes_of_engines_are_on_the_page() -> None:
    (table,) = re.findall(r"<!-- generated: magnitudes -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    rows = {line.split("|")[1].split("(")[0].strip(): line for line in table.splitlines()}
    for name, numbers in {
        "hf": ["1.13863", "| 1 |"],
        "sglang": ["**1.41589**", "**1**"],
        "hf-4.51": ["**1.02231**"],
        "TurboMind": ["**1.02231**"],
        "Megatron": ["**1.41589**"],
    }.items():
        assert all(number in rows[name] for number in numbers), name


def test_code_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(code.replace("tests/fixtures", f"{ROOT}/tests/fixtures"), "choosing.md", "exec"),
         namespace)  # fmt: skip
    assert namespace["unscaled"].factor == 1.0
    assert namespace["scaled"].factor == 4.0
    assert torch.isfinite(namespace["q_out"]).all()
