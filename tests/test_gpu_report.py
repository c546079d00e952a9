"""GPU reports: what vouches for these sources and what does not; bench/gpu.sh rehearsed."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.bench.machine import sources_sha256

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "gpu_report.py"
tool = runpy.run_path(str(TOOL))


def good() -> dict[str, Any]:
    return {
        "rehearsal": False,
        "made": "2026-01-01T00:00:00+00:00",
        "sources_sha256": sources_sha256(),
        "device": {"name": "a GPU"},
        "stages": {"tests": {"status": "passed", "seconds": 1}},
        "tests": {"passed": 300, "failed": 0, "skipped": 5},
        "bench": None,
    }


def check(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(TOOL), "check", str(folder)], capture_output=True, text=True
    )
    return done.returncode, done.stdout


def keep(folder: Path, name: str, report: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(report))


def test_without_a_report_that_is_said(tmp_path: Path) -> None:
    assert check(tmp_path) == (
        1,
        "no GPU report is committed: run bench/gpu.sh on a machine with a GPU\n",
    )
    assert tool["state"](tmp_path) == "no GPU report is committed"


def test_a_report_for_these_sources_is_current(tmp_path: Path) -> None:
    keep(tmp_path, "gpu-a.json", good())
    assert check(tmp_path) == (0, "gpu-a.json: current\n")
    assert tool["state"](tmp_path) == "newest GPU report: gpu-a.json, for these sources"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sources_sha256": "0"}, "it is for other sources"),
        ({"rehearsal": True}, "it is a rehearsal"),
        ({"device": None}, "it names no device"),
        ({"stages": {}}, "it holds no stages"),
        ({"stages": {"bench": {"status": "timed out", "seconds": 9}}}, "stage bench: timed out"),
        ({"tests": None}, "no test passed"),
        ({"tests": {"passed": 9, "failed": 2, "skipped": 0}}, "2 tests failed"),
    ],
)
def test_whatever_is_wrong_with_the_newest_is_told(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    keep(tmp_path, "gpu-old.json", good())
    keep(tmp_path, "gpu-new.json", good() | {"made": "2026-02-01T00:00:00+00:00"} | change)
    code, out = check(tmp_path)
    assert code == 1
    assert f"gpu-new.json: {fault}" in out


def gpu_sh(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "bench" / "gpu.sh"), *arguments],
        env=os.environ | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
    )


def test_the_script_is_rehearsed_from_end_to_end(tmp_path: Path) -> None:
    done = gpu_sh("--rehearse", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rehearsal"] is True
    assert report["sources_sha256"] == sources_sha256()
    assert report["tests"]["passed"] >= 300
    assert report["tests"]["failed"] == 0
    assert {row["entry"] for row in report["bench"]["rows"]} >= {"copy", "ours", "ours, in place"}
    status = {name: stage["status"] for name, stage in report["stages"].items()}
    assert status == {
        "packages": "passed",
        "build": "passed",
        "tests": "passed",
        "sanitizer": "not run",
        "bench": "passed",
        "bench-compiled": "not run",
    }
    keep(tmp_path, "gpu-x.json", report)
    assert "it is a rehearsal" in check(tmp_path)[1]


def test_a_stage_that_fails_marks_the_report_and_the_rest_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = gpu_sh("--rehearse", "--out", str(out), ROPESCALE_CPU_ISA="nope")
    assert done.returncode == 1
    stages = json.loads((out / "report.json").read_text())["stages"]
    assert stages["packages"]["status"] == "passed"
    assert stages["build"]["status"].startswith("failed")
    assert stages["bench"]["status"].startswith("failed")
    assert "ROPESCALE_CPU_ISA" in (out / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--nope"], "got --nope"), (["--wheels", "/nonexistent"], "--wheels: expected a folder")],
)
def test_wrong_arguments_are_named(arguments: list[str], words: str) -> None:
    done = gpu_sh(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
