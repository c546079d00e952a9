"""Compilation before the first request, which would otherwise wait for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import RopeScaleTypeError, RopeScaleValueError, expected
from ..names import MAX_HEAD_DIM
from ..table import RotaryTable
from .check import DTYPES, check_rotary_qk
from .implementations import choose_impl


def warmup(
    table: RotaryTable,
    *,
    head_dim: int | None = None,
    dtype: torch.dtype | Sequence[torch.dtype] = torch.bfloat16,
    interleaved: bool = False,
    phase: str = "exact",
    impl: str = "auto",
) -> int:
    """Compile every variant that calls of `apply_rotary_qk` with this table can need.

    Afterwards no number of tokens or heads, no layout and no dtype of indices compiles anything.
    Implementations that are compiled already have nothing to do.

    Args:
        table: The table, on the device of the calls.
        head_dim: Channels of a head; default the table's rotary_dim.
        dtype: The dtype of q and k; one or several.
        interleaved: As in the calls.
        phase: As in the calls.
        impl: As in the calls.

    Returns:
        The number of variants that are ready.

    Raises:
        RopeScaleTypeError: A wrong kind.
        RopeScaleValueError: A wrong head_dim, phase, dtype or name.
        RopeScaleUnsupportedError: No implementation, or not the one named, can run.

    Example:
        >>> import ropescale_kernels as rk
        >>> table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=10000.0))
        >>> rk.warmup(table)  # the CPU's kernels are compiled when the package is built
        0
    """
    if not isinstance(table, RotaryTable):
        raise RopeScaleTypeError(expected("table", "a RotaryTable", type(table).__name__))
    width = table.rotary_dim if head_dim is None else head_dim
    if isinstance(width, bool) or not isinstance(width, int):
        raise RopeScaleTypeError(expected("head_dim", "an int", type(width).__name__))
    if not table.rotary_dim <= width <= MAX_HEAD_DIM:
        want = f"from rotary_dim = {table.rotary_dim} to {MAX_HEAD_DIM}"
        raise RopeScaleValueError(expected("head_dim", want, width))
    dtypes = tuple(dtype) if isinstance(dtype, list | tuple) else (dtype,)
    for kind in dtypes:
        if kind not in DTYPES:
            raise RopeScaleTypeError(expected("dtype", "float32, float16 or bfloat16", str(kind)))
    count = 0
    for kind in dtypes:
        q = torch.empty((0, 1, width), dtype=kind, device=table.device)
        none = torch.empty(0, dtype=torch.int64, device=table.device)
        spec = check_rotary_qk(
            q, None, none, table, None, interleaved=interleaved, conjugate=False, phase=phase
        )
        # Only an implementation that compiles at run time has a warmup.
        compile_all = getattr(choose_impl(spec, impl), "warmup", None)
        count += compile_all(spec) if compile_all else 0
    return count
