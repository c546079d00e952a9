"""A run that requires a GPU, or floors of what passes, fails if it does without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.floors import FLOORS, floors_here, shortfalls

ROOT = Path(__file__).resolve().parent.parent
PASSES = """
import pytest

@pytest.mark.parametrize("n", range({count}))
def test_passes(n):
    pass
"""
PLUGIN = "support.policy"
SKIPS = """
import pytest

def test_skips():
    pytest.skip("no reason")
"""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("ROPESCALE_")}
    return subprocess.run(
        command, cwd=folder, env=plain | environment, capture_output=True, text=True
    )


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite with this one's plugin, whose GPU tests need none."""
    (tmp_path / "conftest.py").write_text(f"pytest_plugins = [{PLUGIN!r}]\n")
    paths = f"pythonpath = {ROOT / 'tests'} {ROOT}"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers =\n    gpu: one\n{paths}\n")
    (tmp_path / "gpu").mkdir()
    return tmp_path


def test_this_suite_has_the_plugin(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.has_plugin(PLUGIN)


@pytest.mark.parametrize("required", ["", "0", "1"])
def test_without_a_device_gpu_tests_are_skipped_and_that_may_be_a_failure(
    suite: Path, required: str
) -> None:
    (suite / "gpu" / "test_it.py").write_text(PASSES.format(count=3))
    # An empty list of devices, for machines that have one.
    done = run(suite, ROPESCALE_REQUIRE_GPU=required, CUDA_VISIBLE_DEVICES="")
    assert "3 skipped" in done.stdout
    assert (done.returncode != 0) == (required == "1")
    assert ("3 GPU tests were skipped" in done.stdout) == (required == "1")


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("count", "code"), [(29, 1), (30, 0)])
def test_fewer_than_are_required_is_a_failure(
    suite: Path, count: int, code: int, workers: str
) -> None:
    (suite / "gpu" / "test_it.py").write_text(PASSES.format(count=count))
    done = run(suite, "-n", workers, ROPESCALE_REQUIRE_GPU="30", ROPESCALE_GPU_REHEARSAL="cpu")
    assert done.returncode == code, done.stdout
    assert ("29 GPU tests passed, 30 at least must" in done.stdout) == bool(code)


def test_one_skipped_among_many_is_a_failure(suite: Path) -> None:
    (suite / "gpu" / "test_it.py").write_text(PASSES.format(count=30))
    (suite / "gpu" / "test_other.py").write_text(SKIPS)
    done = run(suite, ROPESCALE_REQUIRE_GPU="30", ROPESCALE_GPU_REHEARSAL="cpu")
    assert done.returncode == 1
    assert "1 GPU tests were skipped" in done.stdout


def test_tests_elsewhere_are_none_of_a_gpu(suite: Path) -> None:
    (suite / "test_it.py").write_text(PASSES.format(count=1) + SKIPS)
    done = run(suite)
    assert done.returncode == 0
    assert "1 passed, 1 skipped" in done.stdout


def test_no_test_at_all_is_not_a_skipped_one(suite: Path) -> None:
    empty = PASSES.format(count=0).replace("test_passes", "test_nothing")
    (suite / "gpu" / "test_it.py").write_text(PASSES.format(count=30) + empty)
    done = run(suite, ROPESCALE_REQUIRE_GPU="30", ROPESCALE_GPU_REHEARSAL="cpu")
    assert "1 skipped" in done.stdout
    assert done.returncode == 0, done.stdout


def test_a_suite_that_shrinks_is_a_failure(suite: Path) -> None:
    (suite / "test_it.py").write_text(PASSES.format(count=30))
    done = run(suite, "-n", "2", ROPESCALE_TEST_FLOORS="1")
    assert done.returncode == 1
    assert f"30 tests passed, {FLOORS['']} at least must" in done.stdout
    assert f"0 tests with 'triton/' passed, {FLOORS['triton/']} at least must" in done.stdout


def test_floors_are_met_from_their_number_on() -> None:
    floors = {"": 3, "cuda/": 1}
    assert shortfalls({"": 3, "cuda/": 1}, floors) == []
    assert shortfalls({"": 2, "cuda/": 1}, floors) == ["2 tests passed, 3 at least must"]
    assert shortfalls({"": 4}, floors) == ["0 tests with 'cuda/' passed, 1 at least must"]


@pytest.mark.parametrize("compiler", [None, "/usr/bin/nvcc"])
def test_machine_code_has_to_be_read_if_nvcc_is_there(
    monkeypatch: pytest.MonkeyPatch, compiler: str | None
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    assert ("cuda/test_machine_code.py" in floors_here()) == (compiler is not None)
