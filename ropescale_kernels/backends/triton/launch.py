"""From a checked call to a launch: strides, alignment, the variant, the grid."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._check import RotaryCosSinSpec, RotaryQKSpec
from .tile import PROGRAMS_PER_SM, grid_of, tile_of
from .variants import Variant, compiled

Spec = RotaryQKSpec | RotaryCosSinSpec


class Arguments(NamedTuple):
    """What a kernel takes besides q and k: where cosines and sines come from.

    `sources` holds None for what a call does without; strides are in elements; `flags` are
    compile-time choices of the kernel's own.
    """

    sources: tuple[Tensor | None, ...]
    strides: tuple[int, ...]
    sizes: tuple[int, ...]
    flags: tuple[bool, ...]


def launch(kernel: Any, spec: Spec, arguments: Arguments, *, one_group: bool = False) -> None:
    """Launch a kernel whose arguments are those of q and k, with those of its source between.

    Args:
        kernel: The Triton function.
        spec: The call.
        arguments: Those of the source.
        one_group: Whether one program takes all heads of its tokens, however few tokens there are.
    """
    q, q_out = spec.q, spec.q_out
    k, k_out = (q, q_out) if spec.k is None else (spec.k, spec.k_out)
    assert q_out is not None
    assert k_out is not None
    shape = q.shape
    head_dim, rotary_dim = shape[-1], spec.rotary_dim
    nheads, nheads_k = shape[-2], 0 if spec.k is None else k.shape[-2]
    batch, seqlen = _sequences(q)
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
        tuple([None if x is None else x.dtype for x in arguments.sources]),
        rotary_dim,
        head_dim,
        spec.interleaved,
        (addresses | in_vectors * itemsize) % 16 == 0,
        arguments.flags,
    )
    run = compiled(variant)
    tile = tile_of(rotary_dim, itemsize, run.warp_size)
    wanted = 1 if one_group else _programs_wanted(q.device)
    grid = grid_of(tile, batch, seqlen, nheads + nheads_k, wanted)
    run(
        (grid.num_blocks, grid.num_groups, 1),
        (q, q_out, k, k_out, *arguments.sources),
        (
            *strides,
            *arguments.strides,
            seqlen,
            nheads,
            nheads_k,
            grid.blocks_per_sequence,
            grid.heads_per_program,
            *arguments.sizes,
            int(spec.conjugate),
            int(not in_place),
        ),
    )


def table_arguments(spec: RotaryQKSpec) -> Arguments:
    """Give what kernels on a rotary table take, in their order."""
    positions, profiles, q = spec.position_ids, spec.profile_ids, spec.q
    steps, inv_freq, factors, axis_ids, *blend = spec.table.state
    has_axes = axis_ids is not None and positions.dim() > q.dim() - 2
    axis_ids = axis_ids if has_axes else None
    return Arguments(
        (positions, profiles, steps, inv_freq, factors, axis_ids, *blend),
        (
            positions.stride(0) if has_axes else 0,
            *token_strides(positions, q, has_axes),
            *_profile_strides(profiles, q),
        ),
        (spec.table.num_profiles,),
        (spec.phase_float32,),
    )


def block_count(spec: Spec) -> int:
    """Count the programs of a launch with `one_group`."""
    batch, seqlen = _sequences(spec.q)
    tile = tile_of(spec.rotary_dim, spec.q.element_size())
    return grid_of(tile, batch, seqlen, 1, 1).num_blocks


def _sequences(q: Tensor) -> tuple[int, int]:
    """Give the batch and the tokens of each; of sequences of one token, one of the batch."""
    shape = q.shape
    if len(shape) == 3:
        return 1, shape[0]
    return (1, shape[0]) if shape[1] == 1 else (shape[0], shape[1])


def token_strides(
    x: Tensor, q: Tensor, has_axes: bool = False, of_rows: bool = False
) -> tuple[int, int]:
    """Give the strides of batch and token of `([axes,] [batch,] seqlen [, width])`, 0 if shared."""
    strides, token = x.stride(), -2 if of_rows else -1
    dims = len(strides) - has_axes - of_rows
    batch = strides[token - 1] if dims == 2 and x.shape[token - 1] > 1 else 0
    return _as_tokens(batch, strides[token], q)


def _profile_strides(profile_ids: Tensor | None, q: Tensor) -> tuple[int, int]:
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
