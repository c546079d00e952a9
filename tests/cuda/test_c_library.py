"""The kernels as a library with a C header, linked by a program without Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tools import emulated_cuda
from tools.emulated_cuda import ROOT, find

ENGINE = ROOT / "tests" / "csrc" / "engine"


def cmake(source: Path, tree: Path, **options: object) -> None:
    words = [f"-D{key}={value}" for key, value in options.items()]
    words += [f"-DCMAKE_MAKE_PROGRAM={find('ninja')}", f"-DCMAKE_CXX_COMPILER={compiler()}"]
    emulated_cuda.run(find("cmake"), "-S", source, "-B", tree, "-G", "Ninja", *words)
    emulated_cuda.run(find("cmake"), "--build", tree)


def compiler() -> str:
    return str(emulated_cuda.compiler())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cuda", "shared"),
    [("OFF", "OFF"), ("OFF", "ON"), ("EMULATED", "OFF"), ("EMULATED", "ON"), ("ON", "OFF")],
)
def test_an_engine_links_what_is_installed(tmp_path: Path, cuda: str, shared: str) -> None:
    missing = emulated_cuda.missing_tool()
    if missing:
        pytest.skip(missing)
    if cuda == "ON" and shutil.which("nvcc") is None:
        pytest.skip("nvcc is not on PATH")
    library, prefix = tmp_path / "library", tmp_path / "prefix"
    options = {"ROPESCALE_PYTHON": "OFF", "ROPESCALE_CUDA": cuda, "BUILD_SHARED_LIBS": shared}
    small = {"ROPESCALE_ISAS": "BASELINE", "CMAKE_BUILD_TYPE": "None"}
    small["ROPESCALE_CUDA_ARCHITECTURES"] = "90"
    cmake(ROOT, library, **options, **small)
    emulated_cuda.run(find("cmake"), "--install", library, "--prefix", prefix)
    cmake(ENGINE, tmp_path / "engine", CMAKE_PREFIX_PATH=prefix)
    arguments = ["emulated"] if cuda == "EMULATED" else []
    done = subprocess.run(
        [tmp_path / "engine" / "engine", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    if cuda == "OFF":
        assert said.pop(0) == "cuda: built without CUDA kernels: ROPESCALE_CUDA=OFF"
    elif cuda == "ON":
        # The program links CUDA's runtime, whose answer depends on the driver of this machine.
        about = said.pop(0)
        there = torch.cuda.is_available()
        assert about == "cuda: can run" if there else about.startswith(("cuda: no ", "cuda: the "))
    assert said == [
        "rotary_dim: expected an even number from 2 to head_dim, got 65",
        "table.steps: expected data, got null",
    ]


def test_the_header_is_plain_c(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text("#include <ropescale.h>\nint main(void) { return ROPESCALE_FLOAT32; }\n")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    include = f"-I{ROOT / 'csrc' / 'include'}"
    done = subprocess.run(
        [compiler(), "-x", "c", *flags, include, str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
