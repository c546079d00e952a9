"""From a variant of a kernel to code that runs, compiled once per device.

Kernels are compiled here and not by calling them. A variant lists everything that a kernel is
specialised on, because sizes, strides and pointers are plain arguments. The tests compile the same
source ahead of time for every target.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from torch import Tensor
from triton.compiler import ASTSource

from .launch_config import Tile, tile_of

_POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
# Kernels are decorated when they are imported, so the choice holds for the whole process.
INTERPRETED = triton.knobs.runtime.interpret


class Variant(NamedTuple):
    """The values that a kernel is specialised on."""

    kernel: Any
    device: torch.device
    dtype: torch.dtype
    input_dtypes: tuple[torch.dtype | None, ...]
    rotary_dim: int
    head_dim: int
    interleaved: bool
    aligned: bool
    flags: tuple[Any, ...]


def source_of(variant: Variant, warp_size: int = 32) -> tuple[ASTSource, dict[str, Any]]:
    """Return the source that Triton compiles for a variant, and the options.

    Args:
        variant: The variant; its device is not read.
        warp_size: Threads of a warp of the target.

    Returns:
        The source and the options, for `triton.compile(source, target=..., options=...)`.
    """
    constants = _constants(variant, warp_size)
    pointers = [_POINTERS[variant.dtype]] * 4
    pointers += [
        "constexpr" if dtype is None else _POINTERS[dtype] for dtype in variant.input_dtypes
    ]
    signature = {}
    for name in variant.kernel.arg_names:
        if name in constants:
            signature[name] = "constexpr"
        elif len(signature) < len(pointers):
            signature[name] = pointers[len(signature)]
        else:
            is_long = name.startswith("stride") or name in ("seqlen", "num_rows")
            signature[name] = "i64" if is_long else "i32"
    for name in [name for name, kind in signature.items() if kind == "constexpr"]:
        constants.setdefault(name, None)
    num_warps = _tile(variant, warp_size).num_warps
    # Every product and every sum is rounded, as in the other implementations.
    options = {"num_warps": num_warps, "enable_fp_fusion": False}
    return ASTSource(variant.kernel, signature, constants), options


def _tile(variant: Variant, warp_size: int) -> Tile:
    return tile_of(variant.rotary_dim, variant.dtype.itemsize, warp_size)


def constants_of(variant: Variant, warp_size: int) -> tuple[Any, ...]:
    """Return the compile-time arguments of a variant, in the kernel's order."""
    return tuple(_constants(variant, warp_size).values())


def _constants(variant: Variant, warp_size: int) -> dict[str, Any]:
    tile = _tile(variant, warp_size)
    names = variant.kernel.arg_names
    flags = names[names.index("copy_rest") + 1 : names.index("ROTARY_DIM")]
    return {
        **dict(zip(flags, variant.flags, strict=True)),
        "ROTARY_DIM": variant.rotary_dim,
        "HEAD_DIM": variant.head_dim,
        "INTERLEAVED": variant.interleaved,
        "ALIGNED": variant.aligned,
        "INTERPRETED": INTERPRETED,
        "BLOCK_HEADS": tile.block_heads,
        "BLOCK_TOKENS": tile.block_tokens,
        "BLOCK_PAIRS": tile.block_pairs,
    }


class _Compiled:
    """A variant on its device."""

    def __init__(self, variant: Variant) -> None:
        driver = triton.runtime.driver.active
        # torch.cuda, or the interface that replaces it.
        self._devices = driver.get_device_interface()
        self._device = variant.device.index
        with self._devices.device(self._device):
            target = driver.get_current_target()
            source, options = source_of(variant, target.warp_size)
            self._kernel = triton.compile(source, target=target, options=options)
        self.tile = _tile(variant, target.warp_size)
        self._constants = constants_of(variant, target.warp_size)
        self._stream_of = driver.get_current_stream

    def __call__(
        self, grid: tuple[int, ...], pointers: tuple[Tensor | None, ...], scalars: tuple[int, ...]
    ) -> None:
        if self._devices.current_device() != self._device:
            with self._devices.device(self._device):
                self(grid, pointers, scalars)
            return
        # The launch that `kernel[grid](...)` makes, without a closure for each call.
        kernel, hooks = self._kernel, triton.knobs.runtime
        enter, stream = hooks.launch_enter_hook, self._stream_of(self._device)
        arguments = *pointers, *scalars, *self._constants
        run, metadata = kernel.run, None
        if enter is not None:
            metadata = kernel.launch_metadata(grid, stream, *arguments)
        run(
            *grid,
            stream,
            kernel.function,
            kernel.packed_metadata,
            metadata,
            enter,
            hooks.launch_exit_hook,
            *arguments,
        )


class _Interpreted:
    """A variant in Triton's interpreter, on CPU tensors."""

    def __init__(self, variant: Variant) -> None:
        self._kernel = variant.kernel
        self.tile = _tile(variant, warp_size=32)
        self._constants = constants_of(variant, warp_size=32)

    def __call__(
        self, grid: tuple[int, ...], pointers: tuple[Tensor | None, ...], scalars: tuple[int, ...]
    ) -> None:
        # The contract asks for infinities, NaN and integers that wrap around.
        with np.errstate(all="ignore"):
            self._kernel[grid](*pointers, *scalars, *self._constants)


@cache
def compiled(variant: Variant) -> _Compiled | _Interpreted:
    """Return the code of a variant, compiled at its first use."""
    return _Interpreted(variant) if INTERPRETED else _Compiled(variant)
