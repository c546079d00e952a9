"""Rows of cos and sin by position, made by the operator that they replace."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..ops import apply_rotary_qk
from ..table.state import TableState, TableTensors

# (num_rows, rotary_dim / 2), float32: cos and sin
Cache = tuple[Tensor, Tensor]


def caches_of(
    tensors: TableTensors,
    *,
    conjugate: bool,
    phase_float32: bool,
    max_position: int,
    num_profiles: int,
) -> list[Cache]:
    """Return the rows of cos and sin for q and for k; one entry if both have the same bits.

    The operator itself rotates the pair (1, 0) at each position, which gives (cos, sin) with the
    attention factor and the sign. The row of a token is `profile * (max_position + 1) + position`.
    The last row is NaN, for tokens out of range.

    Args:
        tensors: The tensors of a static table, on the CPU.
        conjugate: As in `apply_rotary_qk`.
        phase_float32: Whether the phase is "float32".
        max_position: The largest position.
        num_profiles: The profiles that tokens can choose, from the first on.
    """
    with torch.device("cpu"):
        positions = torch.arange(max_position + 1)
        profiles = torch.arange(num_profiles, dtype=torch.int32)
        units = torch.zeros(num_profiles, len(positions), 1, 2 * tensors.inv_freq_bits.shape[-1])
    units.chunk(2, dim=-1)[0].fill_(1.0)
    table: Any = TableState(tensors._replace(axis_ids=None), num_axes=0)
    of_q, of_k = apply_rotary_qk(
        units,
        units,
        positions,
        table,
        profile_ids=profiles,
        conjugate=conjugate,
        phase="float32" if phase_float32 else "exact",
        impl="cpu",
    )
    assert of_k is not None
    return [_cache(x) for x in ((of_q,) if torch.equal(of_q, of_k) else (of_q, of_k))]


def _cache(units: Tensor) -> Cache:
    rows = torch.nn.functional.pad(units.flatten(0, 2), (0, 0, 0, 1), value=math.nan)
    cos, sin = rows.chunk(2, dim=-1)
    return cos.contiguous(), sin.contiguous()
