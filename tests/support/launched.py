"""What GPU tests launch on the kernels of the host: the emulated CUDA, interpreted Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ropescale_kernels.backends import cuda
from tools import emulated_cuda


class Launched:
    """What the emulated CUDA kernels and the interpreted ones of Triton were launched as."""

    def __init__(self) -> None:
        from ropescale_kernels.backends.triton import launch

        extension: Any = cuda._extension
        self._module = Path(extension.__file__)
        self._emulator = emulated_cuda.Emulator(self._module)
        self._names = emulated_cuda.instantiations(self._module)
        self._variants: list[Any] = []
        self._compiled = launch.compiled
        launch.compiled = self._record

    def _record(self, variant: Any) -> Any:
        self._variants.append(variant)
        return self._compiled(variant)

    def summary(self) -> dict[str, Any]:
        """Return the instantiations that exist, those that were launched, and Triton's variants."""
        launched = {self._names[launch.kernel] for launch in self._emulator.launches}
        return {
            "instantiations": sorted(self._names.values()),
            "launched": sorted(launched),
            "variants": sorted({words(variant) for variant in self._variants}),
        }


def words(variant: Any) -> str:
    """Say what distinguishes the code of a Triton variant, widths apart."""
    inputs = [str(dtype).removeprefix("torch.") for dtype in variant.input_dtypes]
    pairs = "interleaved" if variant.interleaved else "halves"
    rows = "aligned" if variant.aligned else "unaligned"
    dtype = str(variant.dtype).removeprefix("torch.")
    flags = [str(flag) for flag in variant.flags]
    return " ".join([variant.kernel.__name__, dtype, pairs, rows, *inputs, *flags])
