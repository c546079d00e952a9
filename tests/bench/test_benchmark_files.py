"""The pytest-benchmark files run at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_benchmarks_run_at_toy_size(tmp_path: Path) -> None:
    target = tmp_path / "benchmark.json"
    quick = ["--benchmark-only", "--benchmark-max-time=0.001", "--benchmark-min-rounds=1"]
    command = [sys.executable, "-m", "pytest", "bench", "-q", *quick, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--benchmark-json={target}"],
        cwd=ROOT,
        # The variables of a pytest-xdist worker would make the run below a worker too.
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        | {"ROPESCALE_BENCH_TOY": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(target.read_text())["benchmarks"]
    assert len(found) >= 50
    assert all(entry["extra_info"]["bytes"] > 0 for entry in found)
