"""The GPU tests that the sanitizer runs launch every kernel that there is.

The tests themselves run here, on CUDA kernels compiled for the host and on Triton's interpreter,
and what they launch is set against the lists of what is compiled.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tools import emulated_cuda

ROOT = Path(__file__).resolve().parent.parent
FILES = ("tests/gpu/test_contract.py", "tests/gpu/test_operators.py")
pytestmark = [
    pytest.mark.skipif(emulated_cuda.missing_tool() is not None, reason="needs a C++ build"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton: not installed"),
]


def gpu_tests(*arguments: str, **environment: str) -> str:
    """Run GPU tests on the host's kernels, and give what they print."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("ROPESCALE_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, *dict.fromkeys((*FILES, *arguments))],
        cwd=ROOT,
        env=plain | {"ROPESCALE_GPU_REHEARSAL": "kernels", "TRITON_INTERPRET": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What these tests launch, and the instantiations that there are."""
    kept = tmp_path_factory.mktemp("launched") / "launched.json"
    gpu_tests("-m", "sanitizer", "-k", "cuda or triton", ROPESCALE_LAUNCHED=str(kept))
    found: dict[str, list[str]] = json.loads(kept.read_text())
    return found


@pytest.mark.slow(seconds=30)
def test_every_instantiation_of_the_cuda_kernels_is_launched(
    launched: dict[str, list[str]],
) -> None:
    # Three element types; and of the rotation two orders of pairs, as vectors and as elements.
    kinds = Counter(name.split("<")[0] for name in launched["instantiations"])
    assert kinds == {"rotary_qk_kernel": 12, "scaling_grad_kernel": 3}
    assert launched["launched"] == launched["instantiations"]


@pytest.mark.slow(seconds=30)
def test_every_variant_of_triton_that_is_compiled_ahead_is_launched(
    launched: dict[str, list[str]],
) -> None:
    program = (
        "from support import ahead\n"
        "from support.launched import words\n"
        "print(*sorted({words(variant) for _, variant in ahead.variants('all')}), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    wanted = set(done.stdout.splitlines())
    assert len(wanted) >= 40
    assert wanted - set(launched["variants"]) == set()


@pytest.mark.slow(seconds=30)
def test_every_kernel_of_triton_is_among_those_compiled_ahead(
    launched: dict[str, list[str]],
) -> None:
    folder = ROOT / "ropescale_kernels" / "backends" / "triton"
    texts = [path.read_text() for path in folder.glob("*.py")]
    kernels = {name for text in texts for name in re.findall(r"^def (\w+_kernel)\(", text, re.M)}
    assert kernels == {variant.split()[0] for variant in launched["variants"]}
    assert len(kernels) == 3


@pytest.fixture(scope="module")
def sanitized() -> list[str]:
    """Ids of the tests that compute-sanitizer runs."""
    out = gpu_tests("--collect-only", "-m", "sanitizer")
    return [line for line in out.splitlines() if line.startswith("tests/gpu/")]


@pytest.mark.parametrize("impl", ["cuda", "triton"])
def test_the_sanitizer_is_given_a_real_selection(sanitized: list[str], impl: str) -> None:
    mine = [test for test in sanitized if re.search(rf"[\[-]{impl}[\]-]", test)]
    script = (ROOT / "bench" / "gpu.sh").read_text()
    floor = re.search(r"^sanitized_tests=(\d+)", script, re.M)
    assert floor is not None
    assert len(mine) == int(floor[1])
    for dtype in ("float32", "float16", "bfloat16"):
        for words in (
            "odd sizes",
            "static, halves, elements",
            "static, interleaved, elements",
            "partial, interleaved",
            "profiles, halves, vectors",
            "profiles out of range",
            "M-RoPE",
            "dynamic",
            "phase float32",
        ):
            for test in ("test_out_of_place", "test_in_place"):
                assert any(test in each and words in each and dtype in each for each in mine)
        assert any("cos_and_sin_of_the_callers" in each and dtype in each for each in mine)
        assert any("gradients_of_a_scaling" in each and dtype in each for each in mine)
    assert any("gradients_are_the_conjugate" in each for each in mine)


def test_ids_name_element_types(sanitized: list[str]) -> None:
    assert not any(re.search(r"dtype\d", test) for test in sanitized)


def test_the_script_counts_every_gpu_test() -> None:
    folder = [str(path) for path in (ROOT / "tests" / "gpu").glob("test_*.py")]
    out = gpu_tests("--collect-only", *folder)
    tests = [line for line in out.splitlines() if line.startswith("tests/gpu/")]
    large = [test for test in tests if "test_large" in test]
    script = (ROOT / "bench" / "gpu.sh").read_text()
    counts = re.findall(r"^(gpu_tests|large_tests)=(\d+)", script, re.M)
    # A parametrisation over devices beside the first is empty on a machine with one.
    empty = sum("NOTSET" in test for test in tests)
    assert dict(counts) == {
        "gpu_tests": str(len(tests) - len(large) - empty),
        "large_tests": str(len(large)),
    }


@pytest.mark.slow
def test_a_kernel_that_no_test_launches_would_be_seen(tmp_path: Path) -> None:
    kept = tmp_path / "launched.json"
    gpu_tests("-k", "plain and cuda and float32", ROPESCALE_LAUNCHED=str(kept))
    found: dict[str, Any] = json.loads(kept.read_text())
    assert 0 < len(found["launched"]) < len(found["instantiations"])
