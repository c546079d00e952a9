"""What only the CUDA kernels promise, on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import ropescale_kernels as rk
from ropescale_kernels._check import check_rotary_qk
from ropescale_kernels.backends import cuda
from ropescale_kernels.backends.extension import fast_rotary_qk

SameBits = Callable[..., None]
TOKENS = 300


@pytest.fixture(autouse=True)
def _needs_cuda_itself() -> None:
    assert rk.available_impls()["cuda"] is None


def inputs(device: torch.device) -> Any:
    generator = torch.Generator().manual_seed(0)
    q, k = (
        torch.randn(TOKENS, heads, 128, generator=generator).to(device, torch.bfloat16)
        for heads in (32, 8)
    )
    scaling = rk.RopeScaling.yarn(
        rotary_dim=128, rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768
    )
    table = rk.RotaryTable(scaling, device=device)
    position_ids = torch.randint(0, 2**40, (TOKENS,), generator=generator).to(device)
    return q, k, position_ids, table


def test_auto_takes_them_the_short_way(device: torch.device, same_bits: SameBits) -> None:
    call = inputs(device)
    short = fast_rotary_qk(*call, False, False, "exact", None)
    assert short is not None
    same_bits(short, rk.apply_rotary_qk(*call, impl="cuda"))
    same_bits(rk.apply_rotary_qk(*call), short)


def test_the_bits_of_triton_and_of_the_cpu(device: torch.device, same_bits: SameBits) -> None:
    q, k, position_ids, table = inputs(device)
    got = rk.apply_rotary_qk(q, k, position_ids, table, impl="cuda")
    same_bits(rk.apply_rotary_qk(q, k, position_ids, table, impl="triton"), got)
    here = q.cpu(), k.cpu(), position_ids.cpu(), table.to("cpu")
    same_bits(tuple(x.cpu() for x in got), rk.apply_rotary_qk(*here, impl="cpu"))


def test_overlapped_launches_read_what_the_ones_before_wrote(
    device: torch.device, same_bits: SameBits
) -> None:
    q, k, position_ids, table = inputs(device)

    def chain(*, pdl: bool) -> tuple[torch.Tensor, torch.Tensor]:
        copies = q.clone(), k.clone()
        flags: Any = {"interleaved": False, "phase": "exact", "in_place": True}
        for conjugate in (False, False, True):
            spec = check_rotary_qk(*copies, position_ids, table, None, conjugate=conjugate, **flags)
            cuda.launch_rotary_qk(spec, pdl=pdl)
        return copies

    want = chain(pdl=False)
    for _ in range(20):
        same_bits(chain(pdl=True), want)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = chain(pdl=True)
    graph.replay()
    same_bits(captured, want)


def test_loading_ahead_leaves_nothing_to_compile(device: torch.device) -> None:
    assert rk.warmup(inputs(device)[3], impl="cuda") == 0


def test_a_device_that_is_not_there_is_named(device: torch.device) -> None:
    count = torch.cuda.device_count()
    reason = cuda._extension.cuda_unavailable(count)
    assert reason == f"there is no device {count}, the driver finds {count}"
