"""Past 2^31 elements, where a 32-bit offset would wrap."""

from __future__ import annotations

from collections.abc import Callable

import torch

import ropescale_kernels as rk

SameBits = Callable[..., None]
HEADS, HEAD_DIM = 64, 128


def test_offsets_past_2_to_the_31_elements(
    fused_impl: str, device: torch.device, same_bits: SameBits
) -> None:
    tokens = 2**31 // (HEADS * HEAD_DIM) + 3
    q = torch.empty(tokens, HEADS, HEAD_DIM, dtype=torch.bfloat16, device=device)
    assert q.numel() > 2**31
    q.normal_(generator=torch.Generator(device).manual_seed(0))
    table = rk.RotaryTable(
        rk.RopeScaling.default(rotary_dim=HEAD_DIM, rope_theta=1e4), device=device
    )
    position_ids = torch.arange(tokens, device=device)
    ends = [slice(0, 5), slice(tokens // 2, tokens // 2 + 5), slice(tokens - 5, tokens)]
    want = [
        rk.apply_rotary_qk(q[rows], None, position_ids[rows], table, impl=fused_impl)[0]
        for rows in ends
    ]
    rk.apply_rotary_qk_(q, None, position_ids, table, impl=fused_impl)
    for rows, rotated in zip(ends, want, strict=True):
        same_bits(q[rows], rotated)
