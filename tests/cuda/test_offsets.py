"""Offsets past 2^31 elements, on reserved memory of which few pages are touched."""

from __future__ import annotations

import mmap
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels.backends import cuda

SameBits = Callable[..., None]
FAR = 2**31 + 64  # elements
HEAD_DIM = 64
# The axis with stride FAR, and the sizes (batch, seqlen, nheads) for it.
STRIDES = {"batch": (2, 1, 1), "token": (1, 2, 1), "head": (1, 1, 2)}


@pytest.fixture
def memory() -> Tensor:
    """Return more than 2^32 bfloat16 elements."""
    # Python has the name since 3.13. The number is Linux'.
    promised = getattr(mmap, "MAP_NORESERVE", 0x4000)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | promised
    elements = 2 * FAR + 4096
    pages = mmap.mmap(-1, 2 * elements, flags=flags)
    return torch.frombuffer(pages, dtype=torch.bfloat16)


def far_view(memory: Tensor, which: str, start: int) -> Tensor:
    """Return a (batch, seqlen, nheads, head_dim) view with one stride FAR."""
    batch, seqlen, nheads = STRIDES[which]
    strides = {"batch": HEAD_DIM, "token": HEAD_DIM, "head": HEAD_DIM} | {which: FAR}
    return memory.as_strided((batch, seqlen, nheads, HEAD_DIM), (*strides.values(), 1), start)


@pytest.mark.parametrize("which", STRIDES)
@pytest.mark.parametrize("start", [0, 1], ids=["vectors", "unaligned"])
def test_offsets_of_64_bits(memory: Tensor, which: str, start: int, same_bits: SameBits) -> None:
    if not cuda._is_emulated():
        pytest.skip("not emulated here; tests/gpu/test_large.py has real memory")
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=HEAD_DIM, rope_theta=1e4))
    q, out = far_view(memory, which, start), far_view(memory, which, start + 2048)
    near = torch.randn(q.shape).bfloat16()
    q.copy_(near)
    position_ids = torch.arange(7, 7 + q.shape[1])
    want = rk.apply_rotary_qk(near, None, position_ids, table, impl="cpu")[0]
    rk.apply_rotary_qk(q, None, position_ids, table, impl="cuda", out=(out, None))
    same_bits(out.contiguous(), want)
    rk.apply_rotary_qk_(q, None, position_ids, table, impl="cuda")
    same_bits(q.contiguous(), want)


@pytest.mark.parametrize("far", ["axis", "pair"])
def test_rows_of_cos_and_sin_far_apart(
    memory: Tensor, far: str, exact_impl: str, same_bits: SameBits
) -> None:
    # Two pairs, of which the second is FAR behind the first.
    shape, strides = ((2, 1, 1, 2), (FAR, 1, 1, 1)) if far == "axis" else ((1, 1, 2), (1, 1, FAR))
    options = {"rows": "half", "mrope_section": (1, 1) if far == "axis" else None}
    cos, sin = (memory.as_strided(shape, strides, start) for start in (0, 2048))
    near = torch.rand(2, *shape).bfloat16()
    cos.copy_(near[0])
    sin.copy_(near[1])
    q = torch.randn(1, 1, 2, 4).bfloat16()
    want = rk.apply_rotary_cos_sin(q, None, near[0], near[1], impl="reference", **options)
    same_bits(rk.apply_rotary_cos_sin(q, None, cos, sin, impl=exact_impl, **options), want)
