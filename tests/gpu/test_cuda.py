"""What only the CUDA kernels promise, on the device."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

import ropescale_kernels as rk
from ropescale_kernels.backends import cuda
from ropescale_kernels.backends.compiled import fast_rotary_qk
from ropescale_kernels.ops.check import check_rotary_qk

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


def test_a_first_launch_may_stand_in_a_capture(device: torch.device) -> None:
    # In a process where nothing of ours was launched, or loaded, before.
    program = """
import torch
import ropescale_kernels as rk
table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4), device="cuda")
q = torch.ones(3, 4, 64, device="cuda")
at = torch.arange(3, device="cuda")
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    got = rk.apply_rotary_qk(q, None, at, table, impl="cuda")[0]
graph.replay()
want = rk.apply_rotary_qk(q.cpu(), None, at.cpu(), table.to("cpu"), impl="cpu")[0]
assert torch.equal(got.cpu(), want)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_loading_ahead_leaves_nothing_to_compile(device: torch.device) -> None:
    assert rk.warmup(inputs(device)[3], impl="cuda") == 0


def test_a_device_that_is_not_there_is_named(device: torch.device) -> None:
    count = torch.cuda.device_count()
    reason = cuda._extension.cuda_unavailable(count)
    assert reason == f"there is no device {count}, the driver finds {count}"


@pytest.mark.parametrize("here", range(torch.cuda.device_count() - 1))
def test_a_launch_goes_to_the_tensors_device_whichever_is_current(
    here: int, same_bits: SameBits
) -> None:
    there = here + 1
    calls = [inputs(torch.device("cuda", index)) for index in (here, there)]
    want = [rk.apply_rotary_qk(*call, impl="cuda") for call in calls]
    for current in (there, here):
        torch.cuda.set_device(current)
        for call, expected in zip(calls, want, strict=True):
            same_bits(rk.apply_rotary_qk(*call), expected)
            assert torch.cuda.current_device() == current
