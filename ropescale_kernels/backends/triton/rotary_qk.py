"""Kernel and launcher: rotate q and k with cosines and sines of a rotary table."""

import triton
import triton.language as tl

from ..._check import RotaryQKSpec
from .heads import rotate_heads
from .launch import launch, profile_strides, token_strides
from .math import (
    as_float,
    as_uint,
    blend_inv_freq,
    nan_unless_finite,
    phase_of_position,
    sincos_of_phase,
    turns_from_float32,
)


@triton.jit
def rotary_qk_kernel(
    q_ptr,
    q_out_ptr,
    k_ptr,  # q's pointers where there is no k, and nheads_k = 0
    k_out_ptr,
    position_ptr,
    profile_ptr,  # or None: every token follows profile 0
    steps_ptr,  # (num_profiles, NUM_PAIRS, 2) int32: lo, hi of turns x 2^64
    inv_freq_ptr,  # (num_profiles, NUM_PAIRS) float32 bits, radians per token
    factors_ptr,  # (num_profiles, 2) float32 bits: multiplier of q, of k
    axis_ptr,  # (NUM_PAIRS,) int32, position axis of each pair; or None: one position per token
    pos_freqs_ptr,  # (num_profiles, NUM_PAIRS) float32 bits; or None: the table is static
    ramp_ptr,
    scales_ptr,  # (num_profiles,) float32 bits, 0 for a profile that is not blended
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
    copy_rest,  # whether channels beyond ROTARY_DIM are copied: not in place
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
    """Rotate a block of tokens of one sequence, and a group of the heads of q and k."""
    pid_token = tl.program_id(0)
    batch = (pid_token // blocks_per_sequence).to(tl.int64)
    block = (pid_token % blocks_per_sequence).to(tl.int64)
    tokens = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    mask_token = tokens < seqlen
    offs_pair = tl.arange(0, BLOCK_PAIRS)
    mask_pair = (offs_pair < ROTARY_DIM // 2)[None, :]

    # (BLOCK_TOKENS, 1), or a position per pair: (BLOCK_TOKENS, BLOCK_PAIRS).
    offs_position = (batch * stride_position_batch + tokens * stride_position_token)[:, None]
    mask_position = mask_token[:, None]
    if axis_ptr is not None:
        axis = tl.load(axis_ptr + offs_pair, mask=offs_pair < ROTARY_DIM // 2, other=0)
        offs_position += axis.to(tl.int64)[None, :] * stride_position_axis
        mask_position = mask_position & mask_pair
    position = tl.load(position_ptr + offs_position, mask=mask_position, other=0).to(tl.int64)

    if profile_ptr is not None:
        offs_profile = batch * stride_profile_batch + tokens * stride_profile_token
        profile = tl.load(profile_ptr + offs_profile, mask=mask_token, other=0)
        valid = (profile >= 0) & (profile < num_profiles)
        profile = tl.where(valid, profile, 0).to(tl.int64)
    else:
        valid = mask_token
        profile = tl.zeros([BLOCK_TOKENS], tl.int64)

    entry = profile[:, None] * (ROTARY_DIM // 2) + offs_pair[None, :]
    if PHASE_FLOAT32 or scales_ptr is not None:
        inv_freq = as_float(tl.load(inv_freq_ptr + entry, mask=mask_pair, other=0))
    if not PHASE_FLOAT32:
        step_lo = tl.load(steps_ptr + 2 * entry, mask=mask_pair, other=0)
        step_hi = tl.load(steps_ptr + 2 * entry + 1, mask=mask_pair, other=0)
        step_lo = step_lo.to(tl.uint32, bitcast=True)
        step_hi = step_hi.to(tl.uint32, bitcast=True)
    if scales_ptr is not None:
        scale_bits = tl.load(scales_ptr + profile)[:, None]
        pos_freq = as_float(tl.load(pos_freqs_ptr + entry, mask=mask_pair, other=0x3F800000))
        ramp = as_float(tl.load(ramp_ptr + entry, mask=mask_pair, other=0))
        blended = blend_inv_freq(pos_freq, ramp, as_float(scale_bits))
        is_blend = scale_bits != 0
        inv_freq = tl.where(is_blend, blended, inv_freq)
        if not PHASE_FLOAT32:
            turns = turns_from_float32(inv_freq)
            step_lo = tl.where(is_blend, turns.to(tl.uint32), step_lo)
            step_hi = tl.where(is_blend, (turns >> 32).to(tl.uint32), step_hi)

    if PHASE_FLOAT32:
        angle = position.to(tl.float32) * inv_freq
        s, c = sincos_of_phase((turns_from_float32(angle) >> 32).to(tl.uint32))
        s, c = nan_unless_finite(angle, s), nan_unless_finite(angle, c)
    else:
        s, c = sincos_of_phase(phase_of_position(position, step_lo, step_hi))
    s = as_float(as_uint(s) ^ (conjugate.to(tl.uint32) << 31))
    s = tl.where(valid[:, None], s, float("nan"))
    c = tl.where(valid[:, None], c, float("nan"))

    pid_head = tl.program_id(1)
    first = pid_head * heads_per_program
    last = first + heads_per_program
    factor = as_float(tl.load(factors_ptr + 2 * profile))[:, None]
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
        c * factor,
        s * factor,
        copy_rest,
        ROTARY_DIM,
        HEAD_DIM,
        INTERLEAVED,
        ALIGNED,
        INTERPRETED,
        BLOCK_HEADS,
        BLOCK_PAIRS,
    )
    factor = as_float(tl.load(factors_ptr + 2 * profile + 1))[:, None]
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
        c * factor,
        s * factor,
        copy_rest,
        ROTARY_DIM,
        HEAD_DIM,
        INTERLEAVED,
        ALIGNED,
        INTERPRETED,
        BLOCK_HEADS,
        BLOCK_PAIRS,
    )


def launch_rotary_qk(spec: RotaryQKSpec) -> None:
    """Fill spec.q_out and spec.k_out.

    Args:
        spec: A checked call with outputs, on one CUDA device; or on the CPU where Triton
            interprets.
    """
    positions, profiles = spec.position_ids, spec.profile_ids
    steps, inv_freq, factors, axis_ids, *blend = spec.table.state
    token_dims = spec.q.dim() - 2
    has_axes = axis_ids is not None and positions.dim() > token_dims
    launch(
        rotary_qk_kernel,
        spec,
        (positions, profiles, steps, inv_freq, factors, axis_ids if has_axes else None, *blend),
        (
            positions.stride(0) if has_axes else 0,
            *token_strides(positions, spec.q, has_axes),
            *profile_strides(profiles, spec.q),
        ),
        (spec.table.num_profiles,),
        {"PHASE_FLOAT32": spec.phase_float32},
    )
