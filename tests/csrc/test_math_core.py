"""csrc/math as compiled by the host compiler: sines, cosines and turns over all of their inputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import mpmath
import pytest

from ropescale_kernels import bounds, build_info

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
FLAGS = ["-std=c++17", "-O3", "-w", "-pthread", "-ffp-contract=off", "-fno-math-errno"]
ISA_FLAGS = {
    "avx512": [
        *("-DROPESCALE_ISA_AVX512", "-mavx2", "-mfma", "-mf16c", "-mprefer-vector-width=512"),
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-fno-trapping-math"),
    ],
    "avx2": ["-DROPESCALE_ISA_AVX2", "-mavx2", "-mfma", "-mf16c", "-fno-trapping-math"],
    "baseline": ["-DROPESCALE_ISA_BASELINE"],
}
# Phases of float32 polynomials alone; the rest of bounds.SINCOS_ABS is left to the phase's own
# 2^-32 of a turn and to the step's rounding at |position| = 2^34.
POLYNOMIAL_BOUND = 7.55e-8


def run(program: str, tmp_path: Path, *arguments: str) -> dict[str, float]:
    assert COMPILER is not None, "the extension was built, so there is a compiler"
    binary = tmp_path / program
    isa = build_info()["best_cpu_isa"]
    source = ROOT / "tests" / "csrc" / f"{program}.cpp"
    subprocess.run([COMPILER, *FLAGS, *ISA_FLAGS[isa], str(source), "-o", str(binary)], check=True)
    done = subprocess.run([str(binary), *arguments], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_sine_and_cosine_of_every_phase_are_within_the_bound(tmp_path: Path) -> None:
    """All 2^32 phases where AVX-512 makes that a matter of seconds, every 257th elsewhere."""
    step = 1 if build_info()["best_cpu_isa"] == "avx512" else 257
    worst = run("sincos_exhaustive", tmp_path, str(step), str(os.cpu_count() or 1))
    assert worst["phases"] >= 2**32 // step
    assert 0 < worst["sine"] <= POLYNOMIAL_BOUND
    assert 0 < worst["cosine"] <= POLYNOMIAL_BOUND
    # The truncated phase, and |p| times the rounding of a step, in radians.
    left_over = 2 * mpmath.pi * (mpmath.mpf(2) ** -32 + mpmath.mpf(2) ** (34 - 65))
    assert max(worst["sine"], worst["cosine"]) + left_over <= bounds.SINCOS_ABS


@pytest.mark.slow
def test_joint_error_supports_the_rotation_bound(tmp_path: Path) -> None:
    """Error + 3 u |value| per unit of input, plus what the phase adds, is within ROTATION_ABS."""
    worst = run("sincos_exhaustive", tmp_path, "257", str(os.cpu_count() or 1))
    left_over = 2 * mpmath.pi * (mpmath.mpf(2) ** -32 + mpmath.mpf(2) ** (34 - 65))
    assert worst["joint"] + left_over <= bounds.ROTATION_REL


@pytest.mark.slow
@pytest.mark.parametrize("step", ["61"])
def test_turns_are_exact_and_equal_in_every_lane(tmp_path: Path, step: str) -> None:
    """Correctly rounded up to a million radians, far above any inverse frequency (2 pi wraps)."""
    with mpmath.workprec(400):
        constant = int(mpmath.nint(mpmath.mpf(2) ** 194 / (2 * mpmath.pi)))
    words = [f"{(constant >> (32 * i)) & 0xFFFFFFFF:08x}" for i in range(5, -1, -1)]
    seen = run("turns_check", tmp_path, step, *words)
    assert seen["seen"] > 3e7
    assert seen["lanes_differ"] == 0
    assert seen["sign_wrong"] == 0
    assert seen["first_inexact"] > 1e6
