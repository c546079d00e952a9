"""What a release needs is checked; the workflows, and CI with them, do what their names say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.release_check import changelog_faults

ROOT = Path(__file__).resolve().parent.parent
DATED = "# Changelog\n\n## Unreleased\n{waiting}\n## 1.2.0 - 2026-01-31\n\n### Added\n- x\n"


def workflow(name: str) -> dict[Any, Any]:
    text = (ROOT / ".github" / "workflows" / name).read_text()
    found: dict[Any, Any] = yaml.safe_load(text)
    return found


@pytest.mark.parametrize(
    ("text", "version", "fault"),
    [
        (DATED.format(waiting=""), "1.2.0", None),
        (DATED.format(waiting=""), "1.3.0", "'## 1.3.0 - <date>'"),
        (DATED.format(waiting=""), "1.2", "'## 1.2 - <date>'"),
        (DATED.format(waiting="\n### Fixed\n- y\n"), "1.2.0", "nothing under 'Unreleased'"),
        ("## 1.2.0\n", "1.2.0", "'## 1.2.0 - <date>'"),
    ],
)
def test_a_version_is_released_with_its_changes(text: str, version: str, fault: str | None) -> None:
    found = changelog_faults(text, version)
    assert len(found) == (fault is not None)
    assert fault is None or fault in found[0]


def test_ci_runs_what_the_project_calls_ci() -> None:
    (job,) = workflow("ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


STAGES = ["lint", "package", "transformers-4", "sanitize", "triton-3.6", "test"]
MAKE = """#!/bin/sh
echo "$1 begins" && sleep 0.02 && echo "$1 ends" >&2
case $1 in "$FAILING") exit 3 ;; esac
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock: not found")
@pytest.mark.parametrize("failing", ["", ".venv/.installed", *STAGES])
def test_ci_prints_each_stage_whole_and_fails_with_any(tmp_path: Path, failing: str) -> None:
    """With a stand-in of make that says what it makes, and fails at one name."""
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci" / "run"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAILING": failing},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.returncode == 0) == (failing == "")
    ran = STAGES if failing != ".venv/.installed" else []
    assert done.stdout.count(" begins\n") == 1 + len(ran)
    for name in ran[:-1]:
        code = 3 if name == failing else 0
        log = f"== make {name}\n{name} begins\n{name} ends\n== make {name}: exit status {code} "
        assert done.stdout.count(log) == 1
    assert done.stdout.endswith(f"{(ran or ['.venv/.installed'])[-1]} ends\n")


def test_a_gpu_is_used_on_request_only_and_with_the_wheel_of_the_cpu_job() -> None:
    found = workflow("gpu.yml")
    # YAML reads the key `on` as true.
    assert found[True] == {"pull_request": {"types": ["labeled"]}, "workflow_dispatch": None}
    wheel, gpu = found["jobs"]["wheel"], found["jobs"]["gpu"]
    assert "github.event.label.name == 'gpu'" in wheel["if"]
    assert gpu["needs"] == "wheel"
    assert gpu["runs-on"] == ["self-hosted", "gpu"]
    runs = [step.get("run", "") for step in gpu["steps"]]
    assert any(run.startswith("bench/gpu.sh --carried carried") for run in runs)
    upload = gpu["steps"][-1]
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "gpu-report"
