"""Pytest plugin: the order of the tests, tests that need a GPU, and runs that do not count.

A run that requires a GPU fails without one, and a run with floors fails if too few tests pass. Only
tests for a GPU import torch here, so that the suites of tests/test_gpu_policy.py start in a moment.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest

from support import floors

# So many tests of a GPU have to pass, and none may be skipped: a suite that shrinks is no proof.
REQUIRE_GPU = int(os.environ.get("ROPESCALE_REQUIRE_GPU") or 0)
REHEARSAL = os.environ.get("ROPESCALE_GPU_REHEARSAL", "")
gpu_outcomes: Counter[str] = Counter()
# In .ci/run, floors hold for the whole suite.
FLOORS = floors.floors_here() if os.environ.get("ROPESCALE_TEST_FLOORS") else {}
passed: Counter[str] = Counter()


def pytest_configure() -> None:
    """If tests of a GPU are required, SIGTERM ends the run as Ctrl-C does, with its results."""
    if REQUIRE_GPU:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests in folders gpu/, skip them if there is no device, and put slow tests first."""
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker("gpu")
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_gpu and not REHEARSAL and not has_device():
        for item in for_gpu:
            item.add_marker(pytest.mark.skip(reason="torch finds no CUDA device"))
    items.sort(key=place)


def place(item: pytest.Item) -> float:
    """Return the place of a test in the order: the slowest first, by their own `slow(seconds=N)`.

    A slow test at the end would leave the other workers of pytest-xdist without work.
    """
    slow = item.get_closest_marker("slow")
    return 0.0 if slow is None else -slow.kwargs.get("seconds", 1)


def has_device() -> bool:
    """Say whether torch finds a CUDA device."""
    import torch

    return torch.cuda.is_available()


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
    """Say why a run does not count."""
    for fault in gpu_faults():
        terminalreporter.write_line(f"ROPESCALE_REQUIRE_GPU: {fault}", red=True)
    for fault in floors.shortfalls(passed, FLOORS):
        terminalreporter.write_line(f"ROPESCALE_TEST_FLOORS: {fault}", red=True)
