"""README's code runs, and its figures are those of the results it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ropescale_kernels.bench import report

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
MOST_LINES = 150


def test_the_page_is_short() -> None:
    assert len(TEXT.splitlines()) <= MOST_LINES


def test_the_two_set_up_commands_and_the_missing_gpu_are_near_the_top() -> None:
    top = "\n".join(TEXT.splitlines()[:30])
    for words in ("make bench", "make test", "pip install .", "No GPU has run this yet"):
        assert words in top, words


# The compiler imports code that torch itself has deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_every_code_block_runs_in_order() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) >= 4
    namespace: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert abs(namespace["scaling"].attention_factor - 1.138629436111989) < 1e-12


def test_the_torch_code_is_the_same_rotation() -> None:
    ours, torch_code = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[:2]
    namespace: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(ours, namespace)
    torch.manual_seed(0)
    exec(torch_code, namespace)
    for name in ("q", "k"):
        difference = (namespace[f"{name}_out"] - namespace[f"{name}_torch"]).abs().max()
        # The float32 angle at position 100,000, and |x| below 6.
        assert 0 < difference < 0.03


@pytest.mark.slow
def test_generated_parts_and_pictures_of_every_page_are_those_of_the_results() -> None:
    command = [sys.executable, "-m", "tools.pages", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_figure_of_the_first_sentence_is_that_of_the_results() -> None:
    found = report.read_json(ROOT / "bench" / "results" / "cpu.json")
    (row,) = (
        row
        for row in found.rows
        if (row.case, row.dtype, row.tokens) == ("llama-3.1-8b", "bfloat16", 4096)
        and (row.entry, row.malloc, row.cache) == ("ours, in place", "default", "hot")
    )
    assert f"in {row.x_copy:.2f} of the time of copying them" in TEXT.replace("\n", " ")
