"""What Triton makes of its kernels, run in the interpreter: the bits of impl="cpu".

A NaN equals any NaN, as in test_nvcc.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.bits import WORDS
from support.ptx import calls

pytest.importorskip("triton")
pytestmark = pytest.mark.slow
TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS / "support" / "ptx" / "triton_calls.py"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT)],
        env=os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_call_has_the_bits_of_the_cpu(report: dict[str, Any]) -> None:
    assert report["wrong"] == {}
    assert report["calls"] == sum(len([*calls.of_dtype(dtype)]) for dtype in WORDS)
    # Every dtype, pairing, alignment of rows and source of cosines and sines.
    assert report["variants"] >= 100
    assert report["least seen"] >= 0.5


def test_every_barrier_is_needed(report: dict[str, Any]) -> None:
    assert len(report["removed"]) >= 20
    for name, outcome in report["removed"].items():
        assert outcome, f"{name} was removed, and nothing was seen"
