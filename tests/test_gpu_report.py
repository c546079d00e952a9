"""GPU reports: what vouches for these sources and what does not; bench/gpu.sh rehearsed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.bench.sources import sources_sha256
from tools.gpu.report import state

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench" / "gpu.sh"
SCRIPT_STAGES = re.findall(r"^stages=\((.*)\)$", SCRIPT.read_text(), re.M)[0]


def good() -> dict[str, Any]:
    return {
        "rehearsal": False,
        "made": "2026-01-01T00:00:00+00:00",
        "sources_sha256": sources_sha256(),
        "device": {"name": "a GPU"},
        "stages": {"tests": {"status": "passed", "seconds": 1}},
        "tests": {"passed": 300, "failed": 0, "skipped": 5},
        "bench": {"complete": True},
    }


def check(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.gpu.report", "check", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


def keep(folder: Path, name: str, report: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(report))


def test_without_a_report_that_is_said(tmp_path: Path) -> None:
    assert check(tmp_path) == (
        1,
        "no GPU report is committed: run bench/gpu.sh on a machine with a GPU\n",
    )
    assert state(tmp_path) == "no GPU report is committed"


def test_a_report_for_these_sources_is_current(tmp_path: Path) -> None:
    keep(tmp_path, "gpu-a.json", good())
    assert check(tmp_path) == (0, "gpu-a.json: current\n")
    assert state(tmp_path) == "newest GPU report: gpu-a.json, for these sources"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sources_sha256": "0"}, "it is for other sources"),
        ({"rehearsal": True}, "it is a rehearsal"),
        ({"device": None}, "it names no device"),
        ({"stages": {}}, "it holds no stages"),
        ({"bench": {"complete": False}}, "its bench is not complete"),
        ({"bench": None}, "its bench is not complete"),
        ({"stages": {"bench": {"status": "timed out", "seconds": 9}}}, "stage bench: timed out"),
        ({"tests": None}, "no test passed"),
        ({"tests": {"passed": 9, "failed": 2, "skipped": 0}}, "2 tests failed"),
        (
            {"sanity": [{"check": "a", "wanted": "b", "found": "c", "passed": False}]},
            "a: expected b, got c",
        ),
        (
            {"sanity": [{"check": "a", "wanted": "b", "found": "c", "passed": None}]},
            "a: expected b, got c",
        ),
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


STAGES = tuple(SCRIPT_STAGES.split())


def command(*arguments: str, **environment: str) -> dict[str, Any]:
    """What subprocess takes to run the script."""
    return {
        "args": [str(SCRIPT), *arguments],
        "env": os.environ | {"PYTHON": sys.executable} | environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def gpu_sh(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command(*arguments, **environment))


def read(folder: Path) -> dict[str, Any]:
    """The report; and nothing is left that a machine would not give back."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) <= 8
    assert all(len(path.parts) <= 2 for path in files)
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.slow(seconds=50)
def test_the_script_is_rehearsed_from_end_to_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = gpu_sh("--rehearse", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    report = read(out)
    assert report["rehearsal"] is True
    assert report["sources_sha256"] == sources_sha256()
    assert report["tests"]["passed"] >= 500
    assert report["tests"]["failed"] == 0
    assert report["sanitizer"]["cpu-memcheck"]["passed"] >= 150
    assert {row["entry"] for row in report["bench"]["rows"]} >= {"copy", "ours", "ours, in place"}
    assert [check["passed"] for check in report["sanity"]] == [None] * 3
    assert report["predictions"] == []
    assert {name: s["status"] for name, s in report["stages"].items()} == dict.fromkeys(
        STAGES, "passed"
    )
    assert "not checked: rate of a copy" in done.stdout
    keep(tmp_path, "gpu-x.json", report)
    assert "it is a rehearsal" in check(tmp_path)[1]


@contextmanager
def under_way(folder: Path, stage: str, *also: str) -> Iterator[subprocess.Popen[str]]:
    """The script while it works on a stage, with as few others as there can be."""
    wanted = (stage if stage in STAGES[3:] else "repeat", *also)
    only = [word for name in wanted for word in ("--only", name)]
    # With an empty folder, the stage of the peers looks for libraries and takes a moment.
    carried = folder.with_name("carried")
    carried.mkdir()
    words = ("--rehearse", "--out", str(folder), "--carried", str(carried), *only)
    with subprocess.Popen(**command(*words)) as process:
        log, deadline = folder / "log", time.monotonic() + 300
        while not (log.is_file() and f"== {stage}\n" in log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process


def below(pid: int) -> list[int]:
    """Processes that a process has started, once there is one."""
    while True:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if words:
            return [int(word) for word in words]
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_script_that_is_terminated_in_any_stage_leaves_a_report(
    tmp_path: Path, stage: str
) -> None:
    with under_way(tmp_path / "out", stage) as process:
        started = below(process.pid)
        process.terminate()
        process.communicate(timeout=300)
    assert process.returncode == 143
    assert read(tmp_path / "out")["stages"][stage]["status"] == "terminated"
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


@pytest.mark.slow
def test_a_script_that_is_killed_leaves_the_report_of_the_stages_before(tmp_path: Path) -> None:
    with under_way(tmp_path / "out", "tests") as process:
        orphans = below(process.pid)
        process.kill()
        process.wait(timeout=300)
        for pid in orphans:
            os.kill(pid, signal.SIGTERM)
    stages = read(tmp_path / "out")["stages"]
    assert [name for name, s in stages.items() if s["status"] != "not run"] == list(STAGES[:3])


@pytest.mark.slow
def test_a_stage_that_is_killed_is_told_and_the_next_one_runs(tmp_path: Path) -> None:
    with under_way(tmp_path / "out", "tests", "repeat") as process:
        time.sleep(0.5)
        (timeout,) = below(process.pid)
        os.kill(below(timeout)[0], signal.SIGKILL)
        process.communicate(timeout=300)
    assert process.returncode == 1
    stages = read(tmp_path / "out")["stages"]
    assert (stages["tests"]["status"], stages["repeat"]["status"]) == ("killed", "passed")
    assert stages["bench"]["status"] == "not run"


@pytest.mark.slow
def test_no_stage_outlasts_the_time_of_all(tmp_path: Path) -> None:
    out, began = tmp_path / "out", time.monotonic()
    only = ("--only", "tests", "--only", "bench")
    done = gpu_sh("--rehearse", "--out", str(out), "--seconds", "9", *only)
    assert done.returncode == 1
    assert time.monotonic() - began < 120
    stages = read(out)["stages"]
    assert stages["tests"]["status"] in ("timed out", "no time was left")
    assert stages["bench"] == {"status": "no time was left", "seconds": 0}


@pytest.mark.slow
def test_a_stage_that_fails_marks_the_report_and_the_rest_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = gpu_sh("--rehearse", "--out", str(out), ROPESCALE_CPU_ISA="nope")
    assert done.returncode == 1
    stages = read(out)["stages"]
    assert stages["packages"]["status"] == "passed"
    assert stages["build"]["status"].startswith("failed")
    assert stages["bench"]["status"].startswith("failed")
    assert "ROPESCALE_CPU_ISA" in (out / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nope"], "got --nope"),
        (["--carried", "/nonexistent"], "--carried: expected a folder, got /nonexistent"),
        (["--seconds", "ten"], "--seconds: expected a number, got ten"),
        (["--only", "nothing"], "--only: expected one of tests large sanitizer"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], words: str) -> None:
    done = gpu_sh(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
