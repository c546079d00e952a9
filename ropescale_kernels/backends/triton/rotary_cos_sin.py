"""Kernel and launcher: rotate q and k with cosines and sines that the caller holds."""

import triton
import triton.language as tl

from ...ops.arguments import RotaryCosSinSpec
from .launch import KernelInputs, launch, layout_of, token_strides
from .math import as_float, as_uint, widen
from .rotate import block_of_tokens, rotate_q_and_k


@triton.jit
def rotary_cos_sin_kernel(
    q_ptr,
    q_out_ptr,
    k_ptr,  # pointers of q if k is None; nheads_k is 0 then
    k_out_ptr,
    cos_ptr,  # rows of at least ROTARY_DIM // 2
    sin_ptr,
    row_ptr,  # row index of each token; or None: one row per token
    stride_q_batch,
    stride_q_token,
    stride_q_head,
    stride_q_out_batch,
    stride_q_out_token,
    stride_q_out_head,
    stride_k_batch,
    stride_k_token,
    stride_k_head,
    stride_k_out_batch,
    stride_k_out_token,
    stride_k_out_head,
    stride_cos_axis,
    stride_cos_batch,
    stride_cos_token,
    stride_cos_pair,
    stride_sin_axis,
    stride_sin_batch,
    stride_sin_token,
    stride_sin_pair,
    stride_row_batch,
    stride_row_token,
    seqlen,
    nheads,
    nheads_k,
    blocks_per_sequence,
    heads_per_program,
    num_rows,  # a row index outside [0, num_rows) gives NaN
    conjugate,
    copy_rest,  # 1 if channels at and above ROTARY_DIM are copied; 0 for a call in place
    SECTIONS: tl.constexpr,  # None: the values of a row are neighbours; else as in _pair_offsets
    ROTARY_DIM: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ALIGNED: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Rotate a group of the heads of q and k, for a block of tokens of one sequence."""
    batch, tokens, mask_token = block_of_tokens(blocks_per_sequence, seqlen, BLOCK_TOKENS)
    offs_pair = tl.arange(0, BLOCK_PAIRS)

    if row_ptr is not None:
        offs_row = batch * stride_row_batch + tokens * stride_row_token
        rows = tl.load(row_ptr + offs_row, mask=mask_token, other=0).to(tl.int64)
        valid = (rows >= 0) & (rows < num_rows)
        offs_cos, offs_sin = rows * stride_cos_token, rows * stride_sin_token
    else:
        valid = mask_token
        offs_cos = batch * stride_cos_batch + tokens * stride_cos_token
        offs_sin = batch * stride_sin_batch + tokens * stride_sin_token
    mask = (mask_token & valid)[:, None] & (offs_pair < ROTARY_DIM // 2)[None, :]
    if SECTIONS is None:
        pair_cos, pair_sin = offs_pair, offs_pair
    else:
        pair_cos = _pair_offsets(offs_pair, stride_cos_pair, stride_cos_axis, SECTIONS)
        pair_sin = _pair_offsets(offs_pair, stride_sin_pair, stride_sin_axis, SECTIONS)
    c = tl.load(cos_ptr + (offs_cos[:, None] + pair_cos[None, :]), mask=mask, other=0.0)
    s = tl.load(sin_ptr + (offs_sin[:, None] + pair_sin[None, :]), mask=mask, other=0.0)
    s = as_float(as_uint(widen(s, INTERPRETED)) ^ (conjugate.to(tl.uint32) << 31))
    s = tl.where(valid[:, None], s, float("nan"))
    c = tl.where(valid[:, None], widen(c, INTERPRETED), float("nan"))

    rotate_q_and_k(
        q_ptr,
        q_out_ptr,
        k_ptr,
        k_out_ptr,
        stride_q_batch,
        stride_q_token,
        stride_q_head,
        stride_q_out_batch,
        stride_q_out_token,
        stride_q_out_head,
        stride_k_batch,
        stride_k_token,
        stride_k_head,
        stride_k_out_batch,
        stride_k_out_token,
        stride_k_out_head,
        batch,
        tokens,
        mask_token,
        nheads,
        nheads_k,
        heads_per_program,
        c,
        s,
        None,
        None,
        copy_rest,
        ROTARY_DIM,
        HEAD_DIM,
        INTERLEAVED,
        ALIGNED,
        INTERPRETED,
        BLOCK_HEADS,
        BLOCK_PAIRS,
    )


@triton.jit
def _pair_offsets(
    offs_pair,
    stride_pair,  # int64
    stride_axis,
    SECTIONS: tl.constexpr,  # (first, end, step) of the pairs of M-RoPE axes 1, 2, ..
):
    """Return the offset of each pair's value in a row."""
    offsets = offs_pair * stride_pair
    for axis in tl.static_range(len(SECTIONS)):
        is_own = _is_in(offs_pair, SECTIONS[axis][0], SECTIONS[axis][1], SECTIONS[axis][2])
        offsets += tl.where(is_own, (axis + 1) * stride_axis, 0)
    return offsets


@triton.jit
def _is_in(offs_pair, FIRST: tl.constexpr, END: tl.constexpr, STEP: tl.constexpr):
    in_range = (offs_pair >= FIRST) & (offs_pair < END)
    return in_range & ((offs_pair - FIRST) % STEP == 0)


def launch_rotary_cos_sin(spec: RotaryCosSinSpec) -> None:
    """Fill spec.q_out and spec.k_out.

    Args:
        spec: A checked call with outputs, on one CUDA device; on the CPU if Triton interprets.
    """
    tensors = spec.cos, spec.sin, spec.position_ids
    dtypes = tuple(None if x is None else x.dtype for x in tensors)
    layouts = tuple(layout_of(x) for x in tensors)
    sizes = (0 if spec.position_ids is None else spec.cos.shape[0],)
    ranges, sections, strides_of = spec.sections, None, _row_strides
    if ranges is not None:
        sections = tuple((pairs.start, pairs.stop, pairs.step) for pairs in ranges)
        strides_of = _row_strides_of_axes
    elif spec.cos.stride(-1) != 1 or spec.sin.stride(-1) != 1:
        sections = ()
    inputs = KernelInputs(tensors, dtypes, layouts, strides_of, sizes, (sections,))
    launch(rotary_cos_sin_kernel, spec, inputs)


def _row_strides(q, cos, sin, index):
    if index is None:
        return *_strides_of(q, cos), *_strides_of(q, sin), 0, 0
    (_, of_cos), (_, of_sin) = cos, sin
    return 0, 0, *of_cos, 0, 0, *of_sin, *token_strides(q, index)


def _row_strides_of_axes(q, cos, sin, index):
    return *_strides_of(q, cos, axes=1), *_strides_of(q, sin, axes=1), 0, 0


def _strides_of(q, rows, axes=0):
    shape, strides = rows
    per_token = token_strides(q, (shape[axes:], strides[axes:]), tail=1)
    return strides[0] if axes else 0, *per_token, strides[-1]
