"""Kernel and launcher: gradients of inv_freq and of the attention factors, in a fixed order."""

from dataclasses import replace

import torch
import triton
import triton.language as tl

from ...ops.arguments import RotaryQKSpec
from .cos_sin import cos_sin_of_table
from .launch import block_count, launch, table_inputs
from .math import as_float, widen
from .rotate import block_of_tokens, load_pairs


@triton.jit
def scaling_grad_kernel(
    q_ptr,
    grad_q_ptr,
    k_ptr,  # pointers of q if k is None; nheads_k is 0 then
    grad_k_ptr,
    position_ptr,
    profile_ptr,  # from here on as in cos_sin_of_table
    steps_ptr,
    inv_freq_ptr,
    factors_ptr,
    axis_ptr,
    pos_freqs_ptr,
    ramp_ptr,
    scales_ptr,
    sums_ptr,  # (num_programs, NUM_PAIRS + 2) float64: of inv_freq, of the factors of q and k
    stride_q_batch,
    stride_q_token,
    stride_q_head,
    stride_grad_q_batch,
    stride_grad_q_token,
    stride_grad_q_head,
    stride_k_batch,
    stride_k_token,
    stride_k_head,
    stride_grad_k_batch,
    stride_grad_k_token,
    stride_grad_k_head,
    stride_position_axis,
    stride_position_batch,
    stride_position_token,
    stride_profile_batch,
    stride_profile_token,
    seqlen,
    nheads,
    nheads_k,
    blocks_per_sequence,
    heads_per_program,
    num_profiles,
    conjugate,
    copy_rest,
    PHASE_FLOAT32: tl.constexpr,
    ROTARY_DIM: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ALIGNED: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Sum the terms of one block of tokens, over all of its heads."""
    NUM_PAIRS: tl.constexpr = ROTARY_DIM // 2
    batch, tokens, mask_token = block_of_tokens(blocks_per_sequence, seqlen, BLOCK_TOKENS)
    c, s, position, profile, valid = cos_sin_of_table(
        batch,
        tokens,
        mask_token,
        position_ptr,
        profile_ptr,
        steps_ptr,
        inv_freq_ptr,
        axis_ptr,
        pos_freqs_ptr,
        ramp_ptr,
        scales_ptr,
        stride_position_axis,
        stride_position_batch,
        stride_position_token,
        stride_profile_batch,
        stride_profile_token,
        num_profiles,
        conjugate,
        PHASE_FLOAT32,
        NUM_PAIRS,
        BLOCK_TOKENS,
        BLOCK_PAIRS,
    )
    along, across = _products(
        q_ptr + batch * stride_q_batch,
        grad_q_ptr + batch * stride_grad_q_batch,
        tokens * stride_q_token,
        tokens * stride_grad_q_token,
        stride_q_head,
        stride_grad_q_head,
        nheads,
        mask_token,
        ROTARY_DIM,
        INTERLEAVED,
        ALIGNED,
        INTERPRETED,
        BLOCK_HEADS,
        BLOCK_TOKENS,
        BLOCK_PAIRS,
    )
    factor = as_float(tl.load(factors_ptr + 2 * profile))[:, None]
    c_q, s_q = (c * factor).to(tl.float64), (s * factor).to(tl.float64)
    of_factor_q = c_q * along + s_q * across
    of_angle = c_q * across - s_q * along
    along, across = _products(
        k_ptr + batch * stride_k_batch,
        grad_k_ptr + batch * stride_grad_k_batch,
        tokens * stride_k_token,
        tokens * stride_grad_k_token,
        stride_k_head,
        stride_grad_k_head,
        nheads_k,
        mask_token,
        ROTARY_DIM,
        INTERLEAVED,
        ALIGNED,
        INTERPRETED,
        BLOCK_HEADS,
        BLOCK_TOKENS,
        BLOCK_PAIRS,
    )
    factor = as_float(tl.load(factors_ptr + 2 * profile + 1))[:, None]
    c_k, s_k = (c * factor).to(tl.float64), (s * factor).to(tl.float64)
    of_factor_k = c_k * along + s_k * across
    of_angle += c_k * across - s_k * along

    # The sign of the angle flips if the call rotates backwards.
    direction = (1 - 2 * conjugate).to(tl.float64)
    counted = (valid & mask_token)[:, None]
    of_angle = tl.where(counted, of_angle * position.to(tl.float64) * direction, 0.0)
    offs_pair = tl.arange(0, BLOCK_PAIRS)
    sums = sums_ptr + tl.program_id(0).to(tl.int64) * (NUM_PAIRS + 2)
    tl.store(sums + offs_pair, tl.sum(of_angle, axis=0), mask=offs_pair < NUM_PAIRS)
    tl.store(sums + NUM_PAIRS, tl.sum(tl.where(counted, of_factor_q, 0.0)))
    tl.store(sums + NUM_PAIRS + 1, tl.sum(tl.where(counted, of_factor_k, 0.0)))


@triton.jit
def _products(
    x_ptr,
    g_ptr,
    x_tokens,
    g_tokens,
    stride_x_head,
    stride_g_head,
    nheads,
    mask_token,
    ROTARY_DIM: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ALIGNED: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Sum g0 x0 + g1 x1 and g1 x0 - g0 x1 over heads, (BLOCK_TOKENS, BLOCK_PAIRS) each."""
    along = tl.zeros([BLOCK_TOKENS, BLOCK_PAIRS], tl.float64)
    across = tl.zeros([BLOCK_TOKENS, BLOCK_PAIRS], tl.float64)
    for head in range(0, nheads, BLOCK_HEADS):
        heads = head + tl.arange(0, BLOCK_HEADS)
        offs_head = heads.to(tl.int64)[:, None, None]
        mask_row = (heads < nheads)[:, None, None] & mask_token[None, :, None]
        x_rows = x_ptr + (x_tokens[None, :, None] + offs_head * stride_x_head)
        g_rows = g_ptr + (g_tokens[None, :, None] + offs_head * stride_g_head)
        x0, x1 = load_pairs(x_rows, mask_row, ROTARY_DIM, INTERLEAVED, ALIGNED, BLOCK_PAIRS)
        g0, g1 = load_pairs(g_rows, mask_row, ROTARY_DIM, INTERLEAVED, ALIGNED, BLOCK_PAIRS)
        x0, x1 = widen(x0, INTERPRETED).to(tl.float64), widen(x1, INTERPRETED).to(tl.float64)
        g0, g1 = widen(g0, INTERPRETED).to(tl.float64), widen(g1, INTERPRETED).to(tl.float64)
        along += tl.sum(g0 * x0 + g1 * x1, axis=0)
        across += tl.sum(g1 * x0 - g0 * x1, axis=0)
    return along, across


def launch_rotary_qk_scaling_grad(
    spec: RotaryQKSpec, grad_q: torch.Tensor, grad_k: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of inv_freq and of the attention factors of a table of one profile.

    Args:
        spec: A checked call, on one CUDA device; on the CPU if Triton interprets.
        grad_q: The upstream gradient, like spec.q.
        grad_k: Like spec.k.

    Returns:
        float32 `(1, rotary_dim / 2)` and `(1, 2)`.
    """
    num_pairs = spec.rotary_dim // 2
    sums = torch.empty(
        (block_count(spec), num_pairs + 2), dtype=torch.float64, device=spec.q.device
    )
    inputs = table_inputs(spec)
    launch(
        scaling_grad_kernel,
        replace(spec, q_out=grad_q, k_out=grad_k),
        inputs._replace(tensors=(*inputs.tensors, sums), dtypes=(*inputs.dtypes, sums.dtype)),
        one_group=True,
    )
    total = sums.sum(dim=0, keepdim=True)
    # The sums hold cosines and sines that are multiplied by the attention factors already.
    of_factors = total[:, num_pairs:] / spec.table.attention_factor_bits.view(torch.float32)
    return total[:, :num_pairs].to(torch.float32), of_factors.to(torch.float32)
