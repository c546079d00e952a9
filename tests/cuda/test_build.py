"""Configuring the CUDA kernels: which are built, and the reason if none is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import emulated_cuda
from tools.emulated_cuda import ROOT, find

missing = emulated_cuda.missing_tool()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing is not None, reason=str(missing)),
]
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")


def configure(tree: Path, cudacxx: str | None = None, **options: str) -> tuple[int, str]:
    """Configure with CMake. Return the exit status and the output on one line."""
    chosen = {"ROPESCALE_PYTHON": "OFF", "CMAKE_MAKE_PROGRAM": find("ninja")} | options
    words = [f"-D{key}={value}" for key, value in chosen.items()]
    environment = {k: v for k, v in os.environ.items() if k not in ("CUDACXX", "CUDA_HOME")}
    if cudacxx is not None:
        environment["CUDACXX"] = cudacxx
    done = subprocess.run(
        [str(find("cmake")), "-S", str(ROOT), "-B", str(tree), "-G", "Ninja", *words],
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_without_a_compiler_the_cpu_part_is_built_and_says_so(tmp_path: Path) -> None:
    code, said = configure(tmp_path, cudacxx="/nowhere/nvcc")
    assert code == 0
    assert "no CUDA kernels: no nvcc that compiles was found in CUDACXX, PATH or CUDA_HOME" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"ROPESCALE_CUDA": "ON"},
            "ROPESCALE_CUDA=ON: expected a CUDA compiler, got none: no nvcc that compiles",
        ),
        (
            {"ROPESCALE_CUDA": "MAYBE"},
            "ROPESCALE_CUDA: expected ON, OFF, AUTO or EMULATED, got 'MAYBE'",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(tmp_path: Path, options: dict[str, str], words: str) -> None:
    code, said = configure(tmp_path, cudacxx="/nowhere/nvcc", **options)
    assert code != 0
    assert words in said


@needs_nvcc
@pytest.mark.parametrize(
    ("architectures", "words"),
    [
        ("90;ninety", "ROPESCALE_CUDA_ARCHITECTURES: expected numbers such as 80;90, got 'ninety'"),
        ("55", "ROPESCALE_CUDA_ARCHITECTURES: expected one that nvcc"),
    ],
)
def test_wrong_architectures_are_named(tmp_path: Path, architectures: str, words: str) -> None:
    code, said = configure(tmp_path, ROPESCALE_CUDA_ARCHITECTURES=architectures)
    assert code != 0
    assert words in said


@needs_nvcc
def test_what_this_compiler_does_not_know_is_left_out(tmp_path: Path) -> None:
    code, said = configure(tmp_path, ROPESCALE_CUDA_ARCHITECTURES="55;90")
    assert code == 0
    assert "does not know sm_55" in said
    flags = (tmp_path / "build.ninja").read_text()
    # The lowest remaining architecture has PTX too.
    assert "arch=compute_90,code=[sm_90]" in flags
    assert "arch=compute_90,code=[compute_90]" in flags
    assert "compute_55" not in flags
