"""The rotation that kernels share: tiles of heads, by cosines and sines in registers."""

import triton
import triton.language as tl

from .math import as_float, narrow, negated, rotate_pair, widen


@triton.jit
def block_of_tokens(blocks_per_sequence, seqlen, BLOCK_TOKENS: tl.constexpr):
    """Return the sequence and the tokens of this program (int64), and the mask of real tokens."""
    pid_token = tl.program_id(0)
    batch = (pid_token // blocks_per_sequence).to(tl.int64)
    block = (pid_token % blocks_per_sequence).to(tl.int64)
    tokens = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    return batch, tokens, tokens < seqlen


@triton.jit
def rotate_q_and_k(
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
    c,  # (BLOCK_TOKENS, BLOCK_PAIRS) float32
    s,
    factors_ptr,  # (num_profiles, 2) float32 bits: attention factor of q, of k; None if both are 1
    profile,
    copy_rest,
    ROTARY_DIM: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ALIGNED: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Rotate this program's group of heads. A group may begin in q and end in k."""
    pid_head = tl.program_id(1)
    first = pid_head * heads_per_program
    last = first + heads_per_program
    c_q, s_q, c_k, s_k = c, s, c, s
    if factors_ptr is not None:
        factor = as_float(tl.load(factors_ptr + 2 * profile))[:, None]
        c_q, s_q = c * factor, s * factor
    rotate_heads(
        q_ptr,
        q_out_ptr,
        batch * stride_q_batch + tokens * stride_q_token,
        batch * stride_q_out_batch + tokens * stride_q_out_token,
        stride_q_head,
        stride_q_out_head,
        first,
        tl.minimum(last, nheads),
        mask_token,
        c_q,
        s_q,
        copy_rest,
        ROTARY_DIM,
        HEAD_DIM,
        INTERLEAVED,
        ALIGNED,
        INTERPRETED,
        BLOCK_HEADS,
        BLOCK_PAIRS,
    )
    if factors_ptr is not None:
        factor = as_float(tl.load(factors_ptr + 2 * profile + 1))[:, None]
        c_k, s_k = c * factor, s * factor
    rotate_heads(
        k_ptr,
        k_out_ptr,
        batch * stride_k_batch + tokens * stride_k_token,
        batch * stride_k_out_batch + tokens * stride_k_out_token,
        stride_k_head,
        stride_k_out_head,
        tl.maximum(first - nheads, 0),
        tl.minimum(last - nheads, nheads_k),
        mask_token,
        c_k,
        s_k,
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
def rotate_heads(
    in_ptr,
    out_ptr,
    in_tokens,  # (BLOCK_TOKENS,) int64: offset of each token, in elements
    out_tokens,
    stride_in_head,
    stride_out_head,
    first_head,
    last_head,
    mask_token,  # (BLOCK_TOKENS,)
    c,  # (BLOCK_TOKENS, BLOCK_PAIRS) float32, multiplied by the attention factor
    s,
    copy_rest,
    ROTARY_DIM: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ALIGNED: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Rotate heads [first_head, last_head) of a block of tokens; `out_ptr` may be `in_ptr`."""
    # Heads are the first axis because tokens and pairs then fill the threads: each thread holds
    # the cosines of all of its heads once, and the loads of BLOCK_HEADS heads are in flight
    # together.
    c = c[None, :, :]
    s = s[None, :, :]
    negated_s = negated(s)
    for head in range(first_head, last_head, BLOCK_HEADS):
        heads = head + tl.arange(0, BLOCK_HEADS)
        offs_head = heads.to(tl.int64)[:, None, None]
        mask_row = (heads < last_head)[:, None, None] & mask_token[None, :, None]
        in_rows = in_ptr + (in_tokens[None, :, None] + offs_head * stride_in_head)
        out_rows = out_ptr + (out_tokens[None, :, None] + offs_head * stride_out_head)
        x0, x1 = load_pairs(in_rows, mask_row, ROTARY_DIM, INTERLEAVED, ALIGNED, BLOCK_PAIRS)
        y0, y1 = rotate_pair(widen(x0, INTERPRETED), widen(x1, INTERPRETED), c, s, negated_s)
        DTYPE: tl.constexpr = out_ptr.dtype.element_ty
        y0, y1 = narrow(y0, DTYPE, INTERPRETED), narrow(y1, DTYPE, INTERPRETED)
        store_pairs(out_rows, y0, y1, mask_row, ROTARY_DIM, INTERLEAVED, ALIGNED, BLOCK_PAIRS)
        if ROTARY_DIM < HEAD_DIM:
            if copy_rest:
                _copy_rest(in_rows, out_rows, mask_row, ROTARY_DIM, HEAD_DIM, ALIGNED)


@triton.jit
def _channels(rows, first, ALIGNED: tl.constexpr, WIDTH: tl.constexpr):
    """Return pointers to WIDTH channels of each row, from `first` on."""
    pointers = rows + (first + tl.arange(0, WIDTH))[None, None, :]
    if ALIGNED:
        # The launcher has checked that pointers, strides and sizes are multiples of 16 bytes.
        pointers = tl.multiple_of(pointers, [1, 1, 16])
    return pointers


@triton.jit
def load_pairs(
    rows,
    mask_row,
    ROTARY_DIM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Load both channels of every pair, (BLOCK_HEADS, BLOCK_TOKENS, BLOCK_PAIRS) each."""
    NUM_PAIRS: tl.constexpr = ROTARY_DIM // 2
    if INTERLEAVED:
        mask = mask_row & (tl.arange(0, 2 * BLOCK_PAIRS) < ROTARY_DIM)[None, None, :]
        x = tl.load(_channels(rows, 0, ALIGNED, 2 * BLOCK_PAIRS), mask=mask)
        return tl.split(tl.reshape(x, [x.shape[0], x.shape[1], BLOCK_PAIRS, 2]))
    mask = mask_row & (tl.arange(0, BLOCK_PAIRS) < NUM_PAIRS)[None, None, :]
    x0 = tl.load(_channels(rows, 0, ALIGNED, BLOCK_PAIRS), mask=mask)
    x1 = tl.load(_channels(rows, NUM_PAIRS, ALIGNED, BLOCK_PAIRS), mask=mask)
    return x0, x1


@triton.jit
def store_pairs(
    rows,
    y0,
    y1,
    mask_row,
    ROTARY_DIM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Store both channels of every pair, as `load_pairs` loads them. A fusion replaces this."""
    NUM_PAIRS: tl.constexpr = ROTARY_DIM // 2
    if INTERLEAVED:
        y = tl.reshape(tl.join(y0, y1), [y0.shape[0], y0.shape[1], 2 * BLOCK_PAIRS])
        mask = mask_row & (tl.arange(0, 2 * BLOCK_PAIRS) < ROTARY_DIM)[None, None, :]
        tl.store(_channels(rows, 0, ALIGNED, 2 * BLOCK_PAIRS), y, mask=mask)
    else:
        mask = mask_row & (tl.arange(0, BLOCK_PAIRS) < NUM_PAIRS)[None, None, :]
        tl.store(_channels(rows, 0, ALIGNED, BLOCK_PAIRS), y0, mask=mask)
        tl.store(_channels(rows, NUM_PAIRS, ALIGNED, BLOCK_PAIRS), y1, mask=mask)


@triton.jit
def _copy_rest(
    in_rows,
    out_rows,
    mask_row,
    ROTARY_DIM: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Copy the channels at and above ROTARY_DIM as raw words."""
    WIDTH: tl.constexpr = 64
    for first in tl.static_range(ROTARY_DIM, HEAD_DIM, WIDTH):
        mask = mask_row & (tl.arange(0, WIDTH) < HEAD_DIM - first)[None, None, :]
        x = tl.load(_channels(in_rows, first, ALIGNED, WIDTH), mask=mask)
        tl.store(_channels(out_rows, first, ALIGNED, WIDTH), x, mask=mask)
