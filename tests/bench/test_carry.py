"""What is built ahead for a machine with a GPU is used for its own sources alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.bench.sources import sources_sha256
from tools.gpu import carry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As if an extension of the present sources were there."""
    manifest = {"sources_sha256": sources_sha256(), "architectures": "90"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "_C.cpython-312-x86_64-linux-gnu.so").write_bytes(b"")
    return tmp_path


def carried(folder: Path) -> tuple[int, str]:
    """What bench/gpu.sh asks before it takes the extension."""
    command = [sys.executable, "-m", "tools.gpu.report", "carried", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout.strip()


def test_an_extension_of_these_sources_is_kept_and_taken(folder: Path) -> None:
    assert carry.is_current(folder, "90")
    before = sorted(path.stat().st_mtime_ns for path in folder.iterdir())
    carry.extension("no python is needed", folder, "90")
    assert sorted(path.stat().st_mtime_ns for path in folder.iterdir()) == before
    assert carried(folder) == (0, "the carried extension is of these sources, for 90")


def test_one_of_other_sources_is_neither(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"sources_sha256": "0", "architectures": "90"}')
    assert not carry.is_current(folder, "90")
    assert carried(folder) == (1, "the extension that was carried along is of other sources")


def test_one_for_another_device_is_built_again(folder: Path) -> None:
    assert not carry.is_current(folder, "100")


def test_without_one_that_is_said(folder: Path, tmp_path: Path) -> None:
    next(folder.glob("_C*")).unlink()
    assert not carry.is_current(folder, "90")
    assert carried(tmp_path / "nothing") == (1, "no extension was carried along")


@pytest.mark.parametrize(("arguments", "missing"), [([], "nvcc"), (["--python", "py9"], "py9")])
def test_a_tool_that_lacks_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_tool: Any,
    arguments: list[str],
    missing: str,
) -> None:
    if missing != "nvcc":
        (tmp_path / "nvcc").write_text("#!/bin/sh\n")
        (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run_tool(carry.main, *arguments)
    assert code == 2
    assert f"{missing}: expected on PATH, found none" in err
