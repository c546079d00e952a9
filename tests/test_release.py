"""What a release needs is checked, and the workflows do what their names say."""

from __future__ import annotations

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
