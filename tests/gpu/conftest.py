"""The device under test, and the implementations that serve it.

ROPESCALE_GPU_REHEARSAL puts the CPU in the GPU's place, so that what these tests say is tried on
every machine; what needs CUDA itself is in files that a rehearsal leaves out. "cpu" stands for the
fused implementations with the CPU's; "kernels" runs the CUDA kernels compiled for the host and
Triton's interpreted, and with ROPESCALE_LAUNCHED names a file for what they launched.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import launched

import ropescale_kernels as rk

REHEARSAL = os.environ.get("ROPESCALE_GPU_REHEARSAL", "")
FUSED = ("cpu",) if REHEARSAL == "cpu" else ("cuda", "triton")
RUNNABLE = [name for name in (*FUSED, "torch") if rk.available_impls()[name] is None]


@pytest.fixture
def device() -> torch.device:
    """Where tensors go."""
    return torch.device("cpu" if REHEARSAL else "cuda")


@pytest.fixture(params=RUNNABLE)
def gpu_impl(request: pytest.FixtureRequest) -> str:
    """Each implementation that serves tensors on the device."""
    name: str = request.param
    return name


@pytest.fixture(params=[name for name in RUNNABLE if name != "torch"])
def fused_impl(request: pytest.FixtureRequest) -> str:
    """Each of them that is one kernel a call."""
    name: str = request.param
    return name


@pytest.fixture
def unsynchronised() -> Iterator[Any]:
    """Make whatever waits for the device an error, within `with unsynchronised:`."""

    def choose(mode: str) -> None:
        with warnings.catch_warnings():
            # torch warns once in a process that this mode is a prototype.
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode(mode)

    class Mode:
        def __enter__(self) -> None:
            torch.cuda.synchronize()
            choose("error")

        def __exit__(self, *_: object) -> None:
            choose("default")

    yield Mode()
    choose("default")


def pytest_configure(config: pytest.Config) -> None:
    """Watch launches, if that is asked."""
    if os.environ.get("ROPESCALE_LAUNCHED"):
        config.stash[_LAUNCHED] = launched.Launched()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what was launched."""
    watched = session.config.stash.get(_LAUNCHED, None)
    if watched is not None:
        Path(os.environ["ROPESCALE_LAUNCHED"]).write_text(json.dumps(watched.summary()))


_LAUNCHED = pytest.StashKey[launched.Launched]()
