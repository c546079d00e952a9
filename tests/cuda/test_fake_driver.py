"""The built extension with CUDA's own runtime, on drivers that cannot serve it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ropescale_kernels as rk
from tools import emulated_cuda
from tools.emulated_cuda import ROOT

built = rk.build_info().get("cuda")
pytestmark = [
    pytest.mark.skipif(built is None, reason=str(rk.build_info().get("cuda_reason"))),
    pytest.mark.skipif(emulated_cuda.compiler() is None, reason="a C compiler: not found"),
]
DRIVERS = [
    (12040, 0, "the driver serves CUDA 12.4, the kernels are built with CUDA "),
    (99000, 100, "the driver finds no device (cudaErrorNoDevice)"),
    (99000, 999, "the driver finds no device (cudaErrorUnknown)"),
]
# A process asks its driver once, so that each driver has a process. torch is imported once.
PROGRAM = """
import os, sys
import ropescale_kernels as rk
rk.available_impls
for version, init in zip(sys.argv[1::2], sys.argv[2::2]):
    child = os.fork()
    if child == 0:
        os.environ |= {"FAKE_DRIVER_VERSION": version, "FAKE_DRIVER_INIT": init}
        print(rk.available_impls()["cuda"], flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a libcuda.so.1."""
    folder = tmp_path_factory.mktemp("driver")
    flags = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", folder / "libcuda.so.1"]
    source = ROOT / "tests" / "csrc" / "fake_driver.c"
    emulated_cuda.run(emulated_cuda.compiler(), "-x", "c", source, *flags, "-ldl")
    return folder


def test_what_the_driver_lacks_is_told(driver: Path) -> None:
    plain = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    versions = [str(number) for *numbers, _ in DRIVERS for number in numbers]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *versions],
        env=plain | {"LD_LIBRARY_PATH": str(driver)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for said, (version, init, words) in zip(done.stdout.splitlines(), DRIVERS, strict=True):
        assert said.startswith(words), (version, init)
