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
    cos_ptr,  # rows of at least ROTARY_DIM // 2, the last stride 1
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
    stride_cos_batch,
    stride_cos_token,
    stride_sin_batch,
    stride_sin_token,
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
    c = tl.load(cos_ptr + (offs_cos[:, None] + offs_pair[None, :]), mask=mask, other=0.0)
    s = tl.load(sin_ptr + (offs_sin[:, None] + offs_pair[None, :]), mask=mask, other=0.0)
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


def launch_rotary_cos_sin(spec: RotaryCosSinSpec) -> None:
    """Fill spec.q_out and spec.k_out.

    Args:
        spec: A checked call with outputs, on one CUDA device; on the CPU if Triton interprets.
    """
    tensors = spec.cos, spec.sin, spec.position_ids
    dtypes = tuple(None if x is None else x.dtype for x in tensors)
    layouts = tuple(layout_of(x) for x in tensors)
    sizes = (0 if spec.position_ids is None else spec.cos.shape[0],)
    inputs = KernelInputs(tensors, dtypes, layouts, _row_strides, sizes, ())
    launch(rotary_cos_sin_kernel, spec, inputs)


def _row_strides(q, cos, sin, rows):
    if rows is None:
        return *token_strides(q, cos, tail=1), *token_strides(q, sin, tail=1), 0, 0
    return 0, cos[1][0], 0, sin[1][0], *token_strides(q, rows)
