"""The emulated device and the extension whose CUDA kernels run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.backends import cuda
from tools import emulated_cuda


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
