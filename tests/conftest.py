"""What tests share: implementations of this machine, equality of bits, counts of what ran."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

# Before Triton is imported, which looks once.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from support import floors
from support.bits import assert_same_bits

import ropescale_kernels as rk
from ropescale_kernels.backends import compiled as compiled
from tools import emulated_cuda
from tools.gpu.report import state

extension: Any = compiled.extension


def mend_old_interpreter() -> None:
    """Install an exact fma in the interpreter of Triton before 3.9, because tests compare bits."""
    with contextlib.suppress(ImportError):
        import triton

        if tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 9):
            importlib.import_module("support.exact_fma").install()


mend_old_interpreter()


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
    """Leave a worker of pytest-xdist one thread, because there is a worker for each core.

    If tests of a GPU are required, SIGTERM ends the run as Ctrl-C does: results are then written.
    """
    if REQUIRE_GPU:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


# So many tests of a GPU have to pass, and none may be skipped: a suite that shrinks is no proof.
REQUIRE_GPU = int(os.environ.get("ROPESCALE_REQUIRE_GPU") or 0)
REHEARSAL = os.environ.get("ROPESCALE_GPU_REHEARSAL", "")
gpu_outcomes: Counter[str] = Counter()
# In .ci/run, floors hold for the whole suite.
FLOORS = floors.floors_here() if os.environ.get("ROPESCALE_TEST_FLOORS") else {}
passed: Counter[str] = Counter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests in folders gpu/, skip them if there is no device, and put slow tests first.

    A slow test at the end would leave the other workers of pytest-xdist without work.
    """
    reason = None
    if not REHEARSAL and not torch.cuda.is_available():
        reason = "torch finds no CUDA device"
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker("gpu")
        if item.get_closest_marker("gpu") and reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what became of the GPU tests, and what passed."""
    if report.when == "call" and report.passed:
        passed.update(part for part in FLOORS if part in report.nodeid)
    # Over the implementations of a kind that this version has none of, there is no test to skip.
    nothing = report.skipped and "empty parameter set" in str(report.longrepr)
    if "gpu" in report.keywords and (report.when == "call" or report.skipped) and not nothing:
        gpu_outcomes[report.outcome] += 1


def gpu_faults() -> list[str]:
    """Return why a run that requires a GPU does not count."""
    if not REQUIRE_GPU:
        return []
    found = []
    if gpu_outcomes["skipped"]:
        found.append(f"{gpu_outcomes['skipped']} GPU tests were skipped")
    if gpu_outcomes["passed"] < REQUIRE_GPU:
        found.append(f"{gpu_outcomes['passed']} GPU tests passed, {REQUIRE_GPU} at least must")
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that requires a GPU and did without, or in which too few tests passed."""
    short = gpu_faults() or floors.shortfalls(passed, FLOORS)
    if short and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which implementations the tests ran, why the others were not there, what GPUs say."""
    reasons = {name: absent(name) for name in IMPLS}
    ran = ", ".join(name for name, reason in reasons.items() if reason is None)
    skipped = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    terminalreporter.write_line(f"implementations tested: {ran}; skipped: {skipped or 'none'}")
    terminalreporter.write_line(state())
    for fault in gpu_faults():
        terminalreporter.write_line(f"ROPESCALE_REQUIRE_GPU: {fault}", red=True)
    for fault in floors.shortfalls(passed, FLOORS):
        terminalreporter.write_line(f"ROPESCALE_TEST_FLOORS: {fault}", red=True)
