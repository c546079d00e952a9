"""The device under test, and the implementations that serve it.

ROPESCALE_GPU_REHEARSAL=1 puts the CPU in the GPU's place, so that what these tests say is tried on
every machine; what needs CUDA itself is in other files and stays out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import ropescale_kernels as rk

REHEARSAL = os.environ.get("ROPESCALE_GPU_REHEARSAL") == "1"
FUSED = ("cpu",) if REHEARSAL else ("cuda", "triton")
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

    class Mode:
        def __enter__(self) -> None:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")

        def __exit__(self, *_: object) -> None:
            torch.cuda.set_sync_debug_mode("default")

    yield Mode()
    torch.cuda.set_sync_debug_mode("default")
