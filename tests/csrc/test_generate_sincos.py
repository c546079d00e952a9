"""The committed coefficients are what the script derives, and the script notices when not."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import mpmath
import pytest

from ropescale_kernels import _sincos_coefficients as k

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "generate_sincos.py"
FILES = ("csrc/math/sincos_coefficients.h", "ropescale_kernels/_sincos_coefficients.py")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("derived")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    done = run("--root", str(root))
    assert done.returncode == 0, done.stderr
    return root, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_committed_file_is_what_the_script_writes(derived: tuple[Path, str], name: str) -> None:
    assert (derived[0] / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.slow
def test_prints_an_error_within_the_bound_of_the_exhaustive_check(
    derived: tuple[Path, str],
) -> None:
    words = derived[1].replace(",", "").split()
    errors = [float(words[words.index(name) + 1]) for name in ("sine", "cosine")]
    # Below half an ulp of 1 would mean that nothing was measured.
    assert all(2.0**-25 < error <= 7.55e-8 for error in errors)


@pytest.mark.slow
def test_check_names_the_file_that_differs_and_fails(derived: tuple[Path, str]) -> None:
    header = derived[0] / FILES[0]
    text = header.read_text()
    header.write_text(text.replace("kSine1 = -0x", "kSine1 = 0x"))
    try:
        done = run("--check", "--root", str(derived[0]))
    finally:
        header.write_text(text)
    assert done.returncode == 1
    assert FILES[0] in done.stdout
    assert FILES[1] not in done.stdout


def test_constants_hold_float32_and_two_parts_of_a_quarter_of_pi() -> None:
    values = [getattr(k, name) for name in dir(k) if name.startswith(("SINE", "COSINE"))]
    assert len(values) == 9
    assert all(struct.unpack("f", struct.pack("f", x))[0] == x for x in values)
    with mpmath.workprec(300):
        # The low part is between 2^-26 and 2^-25, so half of its last place is 2^-50.
        assert abs(mpmath.pi / 4 - k.SINE_HI - k.SINE_LO) <= mpmath.ldexp(1, -50)


def test_constant_of_turns_is_the_nearest_integer() -> None:
    with mpmath.workprec(300):
        distance = mpmath.ldexp(1, 98) / (2 * mpmath.pi) - k.INV_TWO_PI_96
        assert abs(distance) < 0.5
    assert k.INV_TWO_PI_96.bit_length() == 96
