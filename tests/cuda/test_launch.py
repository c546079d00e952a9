"""A launch: its grid, stream, current device, overlap and errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ropescale_kernels as rk
from ropescale_kernels.backends import cuda
from ropescale_kernels.ops.arguments import RotaryQKSpec
from ropescale_kernels.ops.check import check_rotary_qk
from tools.emulated_cuda import Emulator

TABLE = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
THREADS = 128


def call(tokens: int, nheads: int, nheads_k: int = 0, **options: Any) -> RotaryQKSpec:
    """Return a checked call in place."""
    head_dim = options.pop("head_dim", 64)
    dtype = options.pop("dtype", torch.bfloat16)
    q = torch.zeros(tokens, nheads, head_dim, dtype=dtype)
    k = torch.zeros(tokens, nheads_k, head_dim, dtype=dtype) if nheads_k else None
    table = options.pop("table", TABLE)
    flags: Any = {"interleaved": False, "conjugate": False, "phase": "exact"} | options
    return check_rotary_qk(q, k, torch.arange(tokens), table, None, in_place=True, **flags)


def test_a_call_is_one_launch_on_the_given_stream(emulator: Emulator, extension: Any) -> None:
    extension.rotary_qk_cuda(call(5, 4, 2), 0, 0x5EED, False)
    (launch,) = emulator.launches
    assert (launch.stream, launch.device, launch.pdl) == (0x5EED, 0, False)


def test_overlap_is_an_option_of_the_launcher(emulator: Emulator) -> None:
    cuda.launch_rotary_qk(call(5, 4), pdl=True)
    cuda.launch_rotary_qk(call(5, 4))
    assert [launch.pdl for launch in emulator.launches] == [True, False]


@pytest.mark.parametrize(("tokens", "nheads", "nheads_k"), [(0, 4, 2), (3, 0, 0)])
def test_nothing_to_rotate_launches_nothing(
    emulator: Emulator, tokens: int, nheads: int, nheads_k: int
) -> None:
    cuda.launch_rotary_qk(call(tokens, nheads, nheads_k))
    assert emulator.launches == []


def test_the_device_of_the_tensors_is_current_for_the_launch_only(
    emulator: Emulator, extension: Any
) -> None:
    for device in (0, 1):
        extension.rotary_qk_cuda(call(5, 4), device, 0, False)
        assert emulator.current_device == 0
    emulator.set(current_device=1)
    extension.rotary_qk_cuda(call(5, 4), 0, 0, False)
    assert emulator.current_device == 1
    assert [launch.device for launch in emulator.launches] == [0, 1, 0]


@pytest.mark.parametrize("current", [0, 1])
def test_a_failed_launch_is_named_and_leaves_nothing_behind(
    emulator: Emulator, extension: Any, current: int
) -> None:
    emulator.set(fail_launch=701, current_device=current)
    words = (
        r"cudaErrorLaunchOutOfResources .* launching rotary_qk_kernel on device 1, "
        r"grid 1 x 1, block 4 x 5"
    )
    with pytest.raises(rk.RopeScaleRuntimeError, match=words):
        extension.rotary_qk_cuda(call(5, 4), 1, 0, False)
    assert emulator.last_error == 0
    assert emulator.current_device == current
    emulator.set(fail_launch=0)
    extension.rotary_qk_cuda(call(5, 4), 1, 0, False)


def test_a_device_that_cannot_be_chosen_is_named(emulator: Emulator, extension: Any) -> None:
    with pytest.raises(rk.RopeScaleRuntimeError, match=r"cudaErrorInvalidDevice .* device 7"):
        extension.rotary_qk_cuda(call(5, 4), 7, 0, False)
    assert emulator.last_error == 0
    assert emulator.launches == []


def test_the_public_function_reports_the_driver(emulator: Emulator) -> None:
    emulator.set(fail_launch=9)
    q = torch.zeros(5, 4, 64)
    with pytest.raises(rk.RopeScaleRuntimeError, match="cudaErrorInvalidConfiguration"):
        rk.apply_rotary_qk(q, None, torch.arange(5), TABLE, impl="cuda")


def test_sums_of_gradients_are_one_launch(emulator: Emulator) -> None:
    spec = call(1500, 2, 1)
    cuda.launch_rotary_qk_scaling_grad(spec, spec.q, spec.k)
    (launch,) = emulator.launches
    # The grid depends on the number of tokens only, so every device adds in the same order.
    assert launch.grid == (1024, 1, 1)
    assert launch.block == (32, 1, 1)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    tokens=st.sampled_from([1, 2, 3, 31, 32, 33, 300]),
    nheads=st.integers(1, 41),
    nheads_k=st.integers(0, 9),
    pairs=st.sampled_from([1, 3, 4, 8, 12, 32, 40, 256]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    interleaved=st.booleans(),
    multiprocessors=st.sampled_from([1, 3, 132]),
)
def test_every_grid_is_legal_and_covers_the_call_once(
    emulator: Emulator,
    tokens: int,
    nheads: int,
    nheads_k: int,
    pairs: int,
    dtype: torch.dtype,
    interleaved: bool,
    multiprocessors: int,
) -> None:
    scaling = rk.RopeScaling.default(rotary_dim=2 * pairs, rope_theta=1e4)
    spec = call(
        tokens,
        nheads,
        nheads_k,
        head_dim=2 * pairs,
        dtype=dtype,
        interleaved=interleaved,
        table=rk.RotaryTable(scaling),
    )
    emulator.reset()
    # The number of multiprocessors is cached per device, so each number has a device of its own.
    device = {1: 2, 3: 0, 132: 3}[multiprocessors]
    emulator.set(device_count=4, multiprocessors=multiprocessors)
    cuda._extension.rotary_qk_cuda(spec, device, 0, False)
    (launch,) = emulator.launches
    (blocks, groups, one), (lanes, per_block, depth) = launch.grid, launch.block
    assert (one, depth) == (1, 1)
    assert 1 <= lanes * per_block <= THREADS
    assert groups <= 65535
    # Every token has a block, and every block has a token.
    assert (blocks - 1) * per_block < tokens <= blocks * per_block
    # There are no more groups than heads.
    assert groups <= nheads + nheads_k
    # If blocks of tokens fill the device, all heads are in one group.
    if blocks >= 16 * multiprocessors:
        assert groups == 1


def test_few_tokens_are_cut_by_heads_and_many_are_not(emulator: Emulator, extension: Any) -> None:
    def groups(tokens: int) -> int:
        emulator.reset()
        extension.rotary_qk_cuda(call(tokens, 32, 8), 0, 0, False)
        (launch,) = emulator.launches
        return launch.grid[1]

    # 40 heads, four in flight; the grid aims at 16 blocks for each of three multiprocessors.
    assert groups(1) == 10
    assert groups(48 * 32) == 1


def test_more_heads_than_a_grid_has_groups(emulator: Emulator) -> None:
    nheads = 4 * 65535 + 5
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=2, rope_theta=1e4))
    spec = call(1, nheads, head_dim=2, table=table, dtype=torch.float32)
    spec.q.normal_()
    spec.position_ids.fill_(7)
    want = rk.apply_rotary_qk(spec.q, None, spec.position_ids, table, impl="cpu")[0]
    emulator.set(device_count=5, multiprocessors=100_000)
    cuda._extension.rotary_qk_cuda(spec, 4, 0, False)
    assert emulator.launches[0].grid[1] <= 65535
    assert torch.equal(spec.q, want)
