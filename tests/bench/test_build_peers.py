"""Building other packages' kernels: what is read of their wheels, and what is said if one lacks."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.gpu import build_peers

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[2]
THEIRS = {
    "flashinfer_python-9.1-py3-none-any.whl": [
        "flashinfer/data/csrc/rope.cu",
        "flashinfer/data/csrc/flashinfer_rope_binding.cu",
        "flashinfer/data/csrc/tvm_ffi_utils.h",
        "flashinfer/data/include/flashinfer/pos_enc.cuh",
        "flashinfer/data/cccl/cub/cub/cub.cuh",
    ],
    "sglang-9.1-cp312-cp312-linux_x86_64.whl": [
        "sglang/kernels/jit/include/sgl_kernel/tensor.h",
        "sglang/kernels/jit/csrc/elementwise/rope.cuh",
    ],
}
OTHERS = {
    "flashinfer_python-9.1-py3-none-any.whl": [
        "flashinfer/data/csrc/gemm.cu",
        "flashinfer/data/csrc/deep/rope.cu",
        "flashinfer/data/cccl/docs/index.rst",
        "flashinfer/rope.py",
    ],
    "sglang-9.1-cp312-cp312-linux_x86_64.whl": ["sglang/srt/server.py"],
}


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder of wheels of the right shape, with nothing in their files."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, members in THEIRS.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member in members + OTHERS[name]:
                archive.writestr(member, "")
    with zipfile.ZipFile(folder / "apache_tvm_ffi-1.0-cp312-cp312-linux_x86_64.whl", "w") as ffi:
        ffi.writestr("tvm_ffi/include/tvm/ffi/function.h", "")
    return folder


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """A folder with an nvcc that writes down how it is called, and fails for SGLang."""
    folder = tmp_path / "bin"
    folder.mkdir()
    nvcc = folder / "nvcc"
    nvcc.write_text(
        '#!/bin/sh\necho "$@" >>"$(dirname "$0")/calls"\ncase "$*" in *sglang*) exit 1;; esac\n'
    )
    nvcc.chmod(0o755)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, run_tool: Any) -> Run:
    """Run the tool with a PATH: its exit code, stdout and stderr."""

    def with_path(*words: str, path: str = "/nonexistent") -> tuple[int, str, str]:
        monkeypatch.setenv("PATH", path)
        code, out, err = run_tool(build_peers.main, *words)
        return code, out, err

    return with_path


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a stand-in of tvm_ffi in place, which loads every file that is there."""
    module = types.ModuleType("tvm_ffi")
    module.load_module = lambda path: open(path).close()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tvm_ffi", module)


def test_slim_wheels_hold_what_building_reads(run: Run, wheels: Path, tmp_path: Path) -> None:
    out = tmp_path / "slim"
    code, _, err = run("--wheels", str(wheels), "--out", str(out), "--slim")
    assert code == 0, err
    found = {}
    for path in out.iterdir():
        with zipfile.ZipFile(path) as archive:
            found[path.name] = archive.namelist()
    assert found == THEIRS


def test_each_library_is_built_and_a_failure_is_told(
    run: Run, wheels: Path, compiler: Path, tmp_path: Path
) -> None:
    path = f"{compiler}:{os.environ['PATH']}"
    out = str(tmp_path / "out")
    code, said, _ = run("--wheels", str(wheels), "--out", out, "--arch", "100", path=path)
    assert code == 1
    assert "flashinfer_rope: built" in said
    assert "sglang_rope: does not build" in said
    flashinfer, sglang = (compiler / "calls").read_text().splitlines()
    for call in (flashinfer, sglang):
        assert "-gencode=arch=compute_100,code=sm_100" in call
        assert "tvm_ffi/include" in call
    assert "csrc/rope.cu" in flashinfer
    assert "kernels/jit/include" in sglang


def test_what_lacks_is_named(run: Run, wheels: Path, compiler: Path, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    path = f"{compiler}:{os.environ['PATH']}"
    for arguments, where, words in (
        (["--wheels", "/nonexistent", *out], path, "--wheels: expected a folder"),
        (["--wheels", str(wheels), *out], "/nonexistent", "nvcc: expected on PATH"),
        (["--wheels", str(tmp_path), *out], path, "a wheel of apache-tvm-ffi"),
    ):
        code, _, err = run(*arguments, path=where)
        assert code == 2
        assert words in err
    for wheel in wheels.glob("sglang*"):
        wheel.unlink()
    code, said, _ = run("--wheels", str(wheels), *out, path=path)
    assert code == 0
    assert "sglang_rope: no wheel of sglang" in said


def test_a_wheel_without_the_sources_is_refused(run: Run, wheels: Path, tmp_path: Path) -> None:
    (old,) = wheels.glob("sglang*")
    with zipfile.ZipFile(old, "w") as archive:
        archive.writestr("sglang/srt/server.py", "")
    code, _, err = run("--wheels", str(wheels), "--out", str(tmp_path / "slim"), "--slim")
    assert code == 1
    assert f"{old.name}: expected sources of a rotary kernel, found none" in err


@pytest.mark.usefixtures("loader")
def test_a_check_loads_every_library(run: Run, tmp_path: Path) -> None:
    (tmp_path / "flashinfer_rope.so").write_bytes(b"")
    code, said, _ = run("--check", str(tmp_path))
    assert code == 1
    assert "flashinfer_rope: loads" in said
    assert "sglang_rope: does not load" in said
    (tmp_path / "sglang_rope.so").write_bytes(b"")
    assert run("--check", str(tmp_path))[0] == 0


@pytest.mark.usefixtures("loader")
def test_only_what_does_not_load_is_built_again(
    run: Run, wheels: Path, compiler: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "sglang_rope.so").write_bytes(b"")
    path = f"{compiler}:{os.environ['PATH']}"
    code, said, _ = run("--missing", "--wheels", str(wheels), "--out", str(out), path=path)
    assert code == 0, said
    (call,) = (compiler / "calls").read_text().splitlines()
    assert "csrc/rope.cu" in call


def test_without_folders_both_are_asked_for(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--wheels", str(tmp_path))
    assert code == 2
    assert "--wheels, --out: expected both, or --check" in err


@pytest.mark.slow
def test_it_is_a_program_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.gpu.build_peers"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--wheels, --out: expected both, or --check" in done.stderr
