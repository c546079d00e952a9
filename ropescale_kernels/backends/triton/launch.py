"""From a checked call to a launch: strides, alignment, the variant, the grid.

`_launch_plan` works out once per layout everything that follows from layouts. A call reads only
layouts and addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...ops.arguments import RotaryCosSinSpec, RotaryQKSpec
from .compile import Variant, compiled
from .launch_config import PROGRAMS_PER_SM, grid_of, tile_of

Spec = RotaryQKSpec | RotaryCosSinSpec
# Shape, and strides in elements.
Layout = tuple[torch.Size, tuple[int, ...]]
_ALIGNMENT = 16


class KernelInputs(NamedTuple):
    """The inputs of a kernel besides q and k.

    `tensors` are the kernel's arguments in order, None for those that a call does without, and
    `dtypes` are their dtypes. `layouts` are those of the tensors whose strides the kernel takes;
    `strides_of` works the strides out from q's shape and the layouts. `sizes` follow the strides.
    `flags` are compile-time choices that only this kernel has.
    """

    tensors: tuple[Tensor | None, ...]
    dtypes: tuple[torch.dtype | None, ...]
    layouts: tuple[Layout | None, ...]
    strides_of: Callable[..., tuple[int, ...]]
    sizes: tuple[int, ...]
    flags: tuple[Any, ...]


def layout_of(x: Tensor | None) -> Layout | None:
    """Return the part of a tensor that a plan depends on."""
    return None if x is None else (x.shape, x.stride())


def launch(kernel: Any, spec: Spec, inputs: KernelInputs, *, one_group: bool = False) -> None:
    """Launch a kernel on q, k and its other inputs.

    Args:
        kernel: The Triton function.
        spec: The call.
        inputs: The tensors besides q and k.
        one_group: Whether one program takes all heads of its tokens, even if the tokens are few.
    """
    q, q_out, k, k_out = spec.q, spec.q_out, spec.k, spec.k_out
    assert q_out is not None
    address, out_address = q.data_ptr(), q_out.data_ptr()
    low_bits, in_place = address | out_address, address == out_address
    of_k: tuple[Any, ...] = (None, None, None)
    if k is None or k_out is None:
        pointers = (q, q_out, q, q_out, *inputs.tensors)
    else:
        pointers = (q, q_out, k, k_out, *inputs.tensors)
        of_k = k.shape[-2], k.stride(), k_out.stride()
        address, out_address = k.data_ptr(), k_out.data_ptr()
        low_bits |= address | out_address
        # A q without heads has no address. Only one of the two buffers may be its input.
        in_place = in_place and address == out_address
    run, grid, scalars = _launch_plan(
        kernel,
        low_bits % _ALIGNMENT == 0,
        in_place,
        one_group,
        q.device,
        q.dtype,
        q.shape,
        q.stride(),
        q_out.stride(),
        *of_k,
        spec.rotary_dim,
        spec.interleaved,
        spec.conjugate,
        *inputs[1:],
    )
    run(grid, pointers, scalars)


@lru_cache(maxsize=4096)
def _launch_plan(
    kernel: Any,
    aligned_pointers: bool,
    in_place: bool,
    one_group: bool,
    device: torch.device,
    dtype: torch.dtype,
    shape: torch.Size,
    q: tuple[int, ...],
    q_out: tuple[int, ...],
    nheads_k: int | None,
    k: tuple[int, ...],
    k_out: tuple[int, ...],
    rotary_dim: int,
    interleaved: bool,
    conjugate: bool,
    dtypes: tuple[torch.dtype | None, ...],
    layouts: tuple[Layout | None, ...],
    strides_of: Callable[..., tuple[int, ...]],
    sizes: tuple[int, ...],
    flags: tuple[Any, ...],
) -> tuple[Any, tuple[int, int, int], tuple[int, ...]]:
    """Return the code to run, its grid and its scalar arguments.

    `q`, `q_out`, `k` and `k_out` are strides.
    """
    batch, seqlen = sequences(shape)
    nheads, head_dim = shape[-2:]
    if nheads_k is None:
        k, k_out = q, q_out
    strides = [stride for x in (q, q_out, k, k_out) for stride in _head_strides(x, shape)]
    # The kernel reads whole vectors only if every part of a row is a whole number of vectors.
    lengths = [*strides, rotary_dim if interleaved else rotary_dim // 2]
    if not in_place and rotary_dim < head_dim:
        lengths += [rotary_dim, head_dim]
    aligned = aligned_pointers and all(n * dtype.itemsize % _ALIGNMENT == 0 for n in lengths)
    run = compiled(
        Variant(kernel, device, dtype, dtypes, rotary_dim, head_dim, interleaved, aligned, flags)
    )
    wanted = 1 if one_group else _programs_wanted(device)
    grid = grid_of(run.tile, batch, seqlen, nheads + (nheads_k or 0), wanted)
    scalars = (
        *strides,
        *strides_of(shape, *layouts),
        seqlen,
        nheads,
        nheads_k or 0,
        grid.blocks_per_sequence,
        grid.heads_per_program,
        *sizes,
        int(conjugate),
        int(not in_place),
    )
    return run, (grid.num_blocks, grid.num_groups, 1), scalars


def table_inputs(spec: RotaryQKSpec) -> KernelInputs:
    """Return the inputs of the kernels that read a rotary table, in the kernels' order."""
    positions, profiles, table = spec.position_ids, spec.profile_ids, spec.table
    tensors, dtypes = table.state, table.dtypes
    if table.axis_ids is not None and positions.dim() <= spec.q.dim() - 2:
        # All pairs follow one position if position_ids has no axes.
        tensors = table.tensors._replace(axis_ids=None)
        dtypes = tuple(None if x is None else x.dtype for x in tensors)
    return KernelInputs(
        (positions, profiles, *tensors),
        (positions.dtype, None if profiles is None else profiles.dtype, *dtypes),
        (layout_of(positions), layout_of(profiles)),
        _index_strides,
        (table.num_profiles,),
        (spec.phase_float32,),
    )


def _index_strides(q: torch.Size, positions: Layout, profiles: Layout | None) -> tuple[int, ...]:
    """Return the strides of positions by axis, batch and token, and those of profiles."""
    shape, strides = positions
    axes = int(len(shape) > len(q) - 2)
    of_profiles = (0, 0)
    if profiles is not None and len(profiles[0]) < len(q) - 2:
        of_profiles = _as_tokens(profiles[1][0], 0, q)
    elif profiles is not None:
        of_profiles = token_strides(q, profiles)
    per_token = token_strides(q, (shape[axes:], strides[axes:]))
    return strides[0] if axes else 0, *per_token, *of_profiles


def block_count(spec: Spec) -> int:
    """Return the number of programs of a launch with `one_group`."""
    batch, seqlen = sequences(spec.q.shape)
    tile = tile_of(spec.rotary_dim, spec.q.element_size())
    return grid_of(tile, batch, seqlen, 1, 1).num_blocks


def sequences(q: torch.Size) -> tuple[int, int]:
    """Return the batch and its seqlen; a batch of one-token sequences counts as one sequence."""
    if len(q) == 3:
        return 1, q[0]
    return (1, q[0]) if q[1] == 1 else (q[0], q[1])


def token_strides(q: torch.Size, layout: Layout, tail: int = 0) -> tuple[int, int]:
    """Return the strides of batch and token of `([batch,] seqlen [, tail])`, 0 if it is shared."""
    shape, strides = layout[0][: len(layout[0]) - tail], layout[1]
    batch = strides[0] if len(shape) == 2 and shape[0] > 1 else 0
    return _as_tokens(batch, strides[len(shape) - 1], q)


def _as_tokens(stride_batch: int, stride_token: int, q: torch.Size) -> tuple[int, int]:
    """Return the strides of batch and token; a batch of one-token sequences counts as tokens."""
    return (0, stride_batch) if len(q) == 4 and q[1] == 1 else (stride_batch, stride_token)


def _head_strides(strides: tuple[int, ...], q: torch.Size) -> tuple[int, int, int]:
    if len(strides) == 3:
        return 0, strides[0], strides[1]
    return (*_as_tokens(strides[0], strides[1], q), strides[2])


@cache
def _programs_wanted(device: torch.device) -> int:
    if device.type == "cpu":
        # The interpreter runs programs one by one; three are enough to meet groups of heads.
        return 3
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return PROGRAMS_PER_SM * count
