"""The emulated device and the extension whose CUDA kernels run on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import emulated_cuda
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ropescale_kernels.backends import cuda


@pytest.fixture
def extension() -> Any:
    """Return the extension with the emulated kernels."""
    if not cuda._is_emulated():
        pytest.skip("the CUDA kernels are not emulated here")
    return cuda._extension


@pytest.fixture
def emulator(extension: Any) -> Iterator[emulated_cuda.Emulator]:
    """Yield the device in its initial state; reset it after the test."""
    device = emulated_cuda.Emulator(Path(extension.__file__))
    device.reset()
    emulated_cuda.serve(extension)
    yield device
    device.reset()
    emulated_cuda.serve(extension)
