"""Kernel and launcher: rotate q and k with cosines and sines of a rotary table."""

import triton
import triton.language as tl

from ...ops.arguments import RotaryQKSpec
from .cos_sin import cos_sin_of_table
from .launch import launch, table_inputs
from .rotate import block_of_tokens, rotate_q_and_k


@triton.jit
def rotary_qk_kernel(
    q_ptr,
    q_out_ptr,
    k_ptr,  # pointers of q if k is None; nheads_k is 0 then
    k_out_ptr,
    position_ptr,
    profile_ptr,  # from here on as in cos_sin_of_table
    steps_ptr,
    inv_freq_ptr,
    factors_ptr,  # (num_profiles, 2) float32 bits: attention factor of q, of k
    axis_ptr,
    pos_freqs_ptr,
    ramp_ptr,
    scales_ptr,
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
    copy_rest,  # 1 if channels at and above ROTARY_DIM are copied; 0 for a call in place
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
    """Rotate a group of the heads of q and k, for a block of tokens of one sequence."""
    batch, tokens, mask_token = block_of_tokens(blocks_per_sequence, seqlen, BLOCK_TOKENS)
    c, s, _position, profile, _valid = cos_sin_of_table(
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
        ROTARY_DIM // 2,
        BLOCK_TOKENS,
        BLOCK_PAIRS,
    )

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
        factors_ptr,
        profile,
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
        spec: A checked call with outputs, on one CUDA device; on the CPU if Triton interprets.
    """
    launch(rotary_qk_kernel, spec, table_inputs(spec))
