"""STYLE's rules that a machine can check, over every tracked source."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 400


def sources(*patterns: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split() if (ROOT / name).exists()]


def test_no_source_file_is_longer_than_a_reader_can_hold() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources("*.py", "*.h", "*.cpp", "*.cu", "*.sh")
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_no_framework_header_below_the_python_folder() -> None:
    framework, cuda = (
        re.compile(rf'#include\s*[<"]({names})')
        for names in (r"torch|ATen|c10|Python\.h|pybind11", "cuda_")
    )
    is_cuda = re.compile(r"_cuda\.|\.cu$")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("csrc/math/*", "csrc/kernels/*")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if framework.search(line) or (cuda.search(line) and not is_cuda.search(path.name))
    ]
    assert not found


def test_no_library_sine_or_cosine_in_the_kernels() -> None:
    raw = re.compile(r"\b(?:std::|__)?(?:sinf?|cosf?|sincosf?|sinpi|cospi)\s*\(")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources("csrc/*")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if raw.search(line.split("//")[0])
    ]
    assert not found


def test_no_fast_math_anywhere_in_the_build() -> None:
    names = ("CMakeLists.txt", "cmake/FindCudaCompiler.cmake", "setup.py")
    text = "".join((ROOT / name).read_text() for name in names)
    assert "-ffp-contract=off" in text
    assert "--fmad=false" in text
    fast = "-ffast-math -Ofast -funsafe-math use_fast_math reciprocal-math ftz=true prec-div=false"
    assert not [flag for flag in fast.split() if flag in text]


def test_comments_hold_no_work_left_over() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        str(path.relative_to(ROOT))
        for path in sources("*.py", "*.h", "*.cpp", "*.cu", "*.sh")
        if path != Path(__file__).resolve() and mark.search(path.read_text())
    ]
    assert not found
