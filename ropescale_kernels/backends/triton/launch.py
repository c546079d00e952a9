"""From a checked call to a launch: strides, alignment, the variant, the grid."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..._check import RotaryCosSinSpec, RotaryQKSpec
from .tile import PROGRAMS_PER_SM, grid_of, tile_of
from .variants import Variant, compiled

Spec = RotaryQKSpec | RotaryCosSinSpec


def launch(
    kernel: Any,
    spec: Spec,
    sources: tuple[Tensor | None, ...],
    source_strides: tuple[int, ...],
    source_sizes: tuple[int, ...],
    flags: dict[str, bool],
) -> None:
    """Launch a kernel whose arguments are those of q and k, with those of its source between.

    Args:
        kernel: The Triton function.
        spec: The call.
        sources: Where cosines and sines come from; None for what the call does without.
        source_strides: Their strides, in elements.
        source_sizes: Their sizes.
        flags: Compile-time choices of the kernel's own.
    """
    q, q_out = spec.q, spec.q_out
    k, k_out = (q, q_out) if spec.k is None else (spec.k, spec.k_out)
    assert q_out is not None
    assert k_out is not None
    shape = q.shape
    head_dim, rotary_dim = shape[-1], spec.rotary_dim
    nheads, nheads_k = shape[-2], 0 if spec.k is None else k.shape[-2]
    batch, seqlen = (1, shape[0]) if len(shape) == 3 else (shape[0], shape[1])
    if seqlen == 1:
        batch, seqlen = 1, batch
    strides = (*_strides(q), *_strides(q_out), *_strides(k), *_strides(k_out))
    itemsize = q.element_size()
    addresses = q.data_ptr() | q_out.data_ptr() | k.data_ptr() | k_out.data_ptr()
    in_vectors = rotary_dim if spec.interleaved else rotary_dim // 2
    for stride in strides:
        in_vectors |= stride
    in_place = q_out is q or q_out.data_ptr() == q.data_ptr()
    if not in_place and rotary_dim < head_dim:
        in_vectors |= rotary_dim | head_dim
    variant = Variant(
        kernel,
        q.device,
        q.dtype,
        tuple([None if x is None else x.dtype for x in sources]),
        rotary_dim,
        head_dim,
        spec.interleaved,
        (addresses | in_vectors * itemsize) % 16 == 0,
        tuple(flags.values()),
    )
    run = compiled(variant)
    tile = tile_of(rotary_dim, itemsize, run.warp_size)
    grid = grid_of(tile, batch, seqlen, nheads + nheads_k, _programs_wanted(q.device))
    run(
        (grid.num_blocks, grid.num_groups, 1),
        (q, q_out, k, k_out, *sources),
        (
            *strides,
            *source_strides,
            seqlen,
            nheads,
            nheads_k,
            grid.blocks_per_sequence,
            grid.heads_per_program,
            *source_sizes,
            int(spec.conjugate),
            int(not in_place),
        ),
    )


def token_strides(x: Tensor, q: Tensor, has_axes: bool = False) -> tuple[int, int]:
    """Give the strides of batch and token of `([axes,] [batch,] seqlen)`, 0 where it broadcasts."""
    return row_strides(x.unsqueeze(-1), q, has_axes)


def row_strides(x: Tensor, q: Tensor, has_axes: bool = False) -> tuple[int, int]:
    """Give the strides of batch and token of `([axes,] [batch,] seqlen, width)`."""
    strides, dims = x.stride(), x.dim() - has_axes
    batch = strides[-3] if dims == 3 and x.shape[-3] > 1 else 0
    return _as_tokens(batch, strides[-2], q)


def profile_strides(profile_ids: Tensor | None, q: Tensor) -> tuple[int, int]:
    """Give the strides of batch and token of `([batch,] seqlen)`, `(batch,)` or None."""
    if profile_ids is None:
        return 0, 0
    if profile_ids.dim() < q.dim() - 2:
        return _as_tokens(profile_ids.stride(0), 0, q)
    return token_strides(profile_ids, q)


def _as_tokens(stride_batch: int, stride_token: int, q: Tensor) -> tuple[int, int]:
    """Where sequences are of one token, the batch is walked as tokens are."""
    return (0, stride_batch) if q.dim() == 4 and q.shape[1] == 1 else (stride_batch, stride_token)


def _strides(x: Tensor) -> tuple[int, int, int]:
    strides = x.stride()
    if len(strides) == 3:
        return 0, strides[0], strides[1]
    return (*_as_tokens(strides[0], strides[1], x), strides[2])


@cache
def _programs_wanted(device: torch.device) -> int:
    if device.type == "cpu":
        # The interpreter runs them one by one; some, so that groups of heads are met.
        return 3
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return PROGRAMS_PER_SM * count
