"""What tests share: implementations of this machine, equality of bits, a report of what ran."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

# Before Triton is imported, which looks once.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from support.bits import assert_same_bits

import ropescale_kernels as rk
from ropescale_kernels.backends import compiled as compiled
from tools import emulated_cuda
from tools.gpu.report import state

# Order, floors, and tests of a GPU.
pytest_plugins = ["support.policy"]
extension: Any = compiled.extension
with contextlib.suppress(ImportError):
    importlib.import_module("support.interpreter").install()


def emulate_cuda() -> str | None:
    """Serve impl="cuda" from the kernels compiled for the host; return a reason if that fails."""
    path = os.environ.get("ROPESCALE_EMULATED_CUDA")
    if path == "":
        return "ROPESCALE_EMULATED_CUDA is empty"
    if path is None and torch.cuda.is_available():
        return "the device's own kernels are tested, in tests/gpu"
    if path is None:
        missing = emulated_cuda.missing_tool()
        if missing is not None:
            return missing
        path = str(emulated_cuda.build())
    emulated_cuda.serve(emulated_cuda.load(Path(path)))
    order = int(os.environ.get("ROPESCALE_EMULATED_ORDER", "0"))
    emulated_cuda.Emulator(Path(path)).set(order=order)
    return None


not_emulated = emulate_cuda()
ISAS = ("avx512", "avx2", "baseline")
IMPLS = ("cuda", "triton", *(f"cpu-{isa}" for isa in ISAS), "torch")


def absent(name: str) -> str | None:
    """Say why an entry of IMPLS cannot run here, or None."""
    impl, _, isa = name.partition("-")
    reason = rk.available_impls()[impl]
    on_device = impl == "triton" or (impl == "cuda" and not_emulated is not None)
    if reason is None and on_device and torch.cuda.is_available():
        reason = "these tests' tensors are on the CPU; those of the device are in tests/gpu"
    elif reason is not None and impl == "cuda" and not_emulated is not None:
        reason += f"; not emulated: {not_emulated}"
    if reason is None and isa:
        # The names go from wide to narrow, and a processor runs every one below its best.
        best = rk.build_info()["best_cpu_isa"]
        if ISAS.index(isa) < ISAS.index(best):
            reason = f"this processor and build go up to {best}"
    return reason


def enter_isa(name: str) -> Iterator[str]:
    isa = name.removeprefix("cpu-")
    before = extension.cpu_isa()
    try:
        assert extension.use_cpu_isa(isa) == isa
        yield "cpu"
    finally:
        extension.use_cpu_isa(before)


@pytest.fixture(params=[name for name in IMPLS if absent(name) is None])
def impl(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of each implementation that runs here, the cpu one once per instruction set."""
    if request.param.startswith("cpu-"):
        yield from enter_isa(request.param)
    else:
        yield request.param


@pytest.fixture(params=[name for name in IMPLS if absent(name) is None and name != "torch"])
def exact_impl(request: pytest.FixtureRequest) -> Iterator[str]:
    """Like `impl`, of those that promise the bits of the definition."""
    if request.param.startswith("cpu-"):
        yield from enter_isa(request.param)
    else:
        yield request.param


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name element types, so that tests can be chosen by them."""
    return str(val).removeprefix("torch.") if isinstance(val, torch.dtype) else None


@pytest.fixture
def same_bits() -> Callable[..., None]:
    """An assertion on two results (tensors, None, or pairs of them)."""
    return assert_same_bits


@pytest.fixture
def run_tool(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `main` of a tool on words in this process, and give its exit code, stdout and stderr."""

    def run(main: Callable[[tuple[str, ...]], int], *words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main(words)
        except SystemExit as end:
            # As the interpreter has it: a text is printed, and the code is 1.
            code = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bench flush a megabyte: the largest cache of a server has hundreds of them."""
    monkeypatch.setattr("ropescale_kernels.bench.clocks.last_level_cache", lambda: 1 << 20)


@pytest.fixture
def thread_team() -> Iterator[None]:
    """Set two threads in torch, for tests of several threads at work together."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, before))
    yield
    torch.set_num_threads(before)


def pytest_configure() -> None:
    """Leave a worker of pytest-xdist one thread, because there is a worker for each core."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which implementations the tests ran, why the others were not there, what GPUs say."""
    reasons = {name: absent(name) for name in IMPLS}
    ran = ", ".join(name for name, reason in reasons.items() if reason is None)
    skipped = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    terminalreporter.write_line(f"implementations tested: {ran}; skipped: {skipped or 'none'}")
    terminalreporter.write_line(state())
