"""Cosines and sines of a rotary table, for a block of tokens."""

import triton
import triton.language as tl

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
def cos_sin_of_table(
    batch,  # int64
    tokens,  # (BLOCK_TOKENS,) int64, within the sequence
    mask_token,
    position_ptr,
    profile_ptr,  # int32; None if every token follows profile 0
    steps_ptr,  # (num_profiles, NUM_PAIRS, 2) int32: lo, hi of turns x 2^64
    inv_freq_ptr,  # (num_profiles, NUM_PAIRS) float32 bits, radians per token
    axis_ptr,  # (NUM_PAIRS,) int32, position axis of each pair; None if tokens have one position
    pos_freqs_ptr,  # (num_profiles, NUM_PAIRS) float32 bits; None if the table is static
    ramp_ptr,
    scales_ptr,  # (num_profiles,) float32 bits, 0 for a profile that is not blended
    stride_position_axis,
    stride_position_batch,
    stride_position_token,
    stride_profile_batch,
    stride_profile_token,
    num_profiles,
    conjugate,
    PHASE_FLOAT32: tl.constexpr,
    NUM_PAIRS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
):
    """Return c and s before the attention factor, positions, profiles, and which profiles exist.

    c and s are NaN for a profile that does not exist. Positions are int64, (BLOCK_TOKENS, 1), or
    (BLOCK_TOKENS, BLOCK_PAIRS) if pairs have axes. Profiles, (BLOCK_TOKENS,), are in range.
    """
    offs_pair = tl.arange(0, BLOCK_PAIRS)
    mask_pair = (offs_pair < NUM_PAIRS)[None, :]

    offs_position = (batch * stride_position_batch + tokens * stride_position_token)[:, None]
    mask_position = mask_token[:, None]
    if axis_ptr is not None:
        axis = tl.load(axis_ptr + offs_pair, mask=offs_pair < NUM_PAIRS, other=0)
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

    entry = profile[:, None] * NUM_PAIRS + offs_pair[None, :]
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
    return c, s, position, profile, valid
