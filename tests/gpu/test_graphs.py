"""What serving needs of the device: graphs, streams, no waiting, one kernel a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import ropescale_kernels as rk

SameBits = Callable[..., None]
CPU = torch.device("cpu")
TOKENS = 7


def scalings() -> list[rk.RopeScaling]:
    yarn = {"rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}
    return [rk.RopeScaling.yarn(rotary_dim=64, **yarn) for _ in range(2)]


class Setting:
    """Static buffers, as an engine's captured step has them."""

    def __init__(self, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self.q = torch.randn(TOKENS, 4, 64, generator=generator).to(device, torch.bfloat16)
        self.k = torch.randn(TOKENS, 2, 64, generator=generator).to(device, torch.bfloat16)
        self.position_ids = torch.arange(TOKENS, device=device)
        self.profile_ids = torch.zeros(TOKENS, dtype=torch.int32, device=device)
        self.seq_lens = torch.full((2,), 40_000, device=device)
        self.table = rk.RotaryTable(scalings(), device=device, dynamic=True)
        self.out = torch.empty_like(self.q), torch.empty_like(self.k)

    def step(self, impl: str) -> None:
        """Update the lengths and rotate, out of place and then in place."""
        self.table.update_(self.seq_lens)
        arguments: Any = (self.q, self.k, self.position_ids, self.table)
        options: Any = {"profile_ids": self.profile_ids, "impl": impl}
        self.out = rk.apply_rotary_qk(*arguments, **options)
        rk.apply_rotary_qk_(*arguments, **options)

    def change(self, seed: int) -> None:
        """Put other positions, profiles and lengths into the same buffers."""
        generator = torch.Generator().manual_seed(seed)
        self.position_ids.copy_(torch.randint(0, 2**31 - 1, (TOKENS,), generator=generator))
        ids = torch.randint(0, 2, (TOKENS,), generator=generator, dtype=torch.int32)
        self.profile_ids.copy_(ids)
        self.seq_lens.copy_(torch.randint(1, 10**6, (2,), generator=generator))


def test_a_graph_replays_with_other_positions_profiles_and_lengths(
    gpu_impl: str, device: torch.device, same_bits: SameBits
) -> None:
    setting = Setting(device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            setting.step(gpu_impl)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        setting.step(gpu_impl)
    for seed in range(5):
        setting.change(seed)
        q, k = setting.q.clone(), setting.k.clone()
        graph.replay()
        other = Setting(device)
        other.change(seed)
        other.q, other.k = q, k
        other.step(gpu_impl)
        same_bits(setting.out, other.out)
        same_bits((setting.q, setting.k), (other.q, other.k))


def test_work_is_done_on_the_current_stream(
    gpu_impl: str, device: torch.device, same_bits: SameBits
) -> None:
    setting, late = Setting(device), Setting(device)
    setting.step(gpu_impl)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    q = late.q.clone()
    late.q.zero_()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        # On any other stream the rotation would read zeros.
        torch.cuda._sleep(50_000_000)
        late.q.copy_(q)
        late.step(gpu_impl)
    assert not side.query()
    side.synchronize()
    same_bits(late.out, setting.out)


def test_a_step_waits_for_nothing(
    gpu_impl: str, device: torch.device, unsynchronised: Any, same_bits: SameBits
) -> None:
    setting, other = Setting(device), Setting(device)
    other.step(gpu_impl)
    with unsynchronised:
        setting.step(gpu_impl)
    same_bits(setting.out, other.out)


def test_a_plain_call_waits_for_nothing(
    gpu_impl: str, device: torch.device, unsynchronised: Any
) -> None:
    setting = Setting(device)
    table = rk.RotaryTable(scalings()[0], device=device)
    with unsynchronised:
        rk.apply_rotary_qk(setting.q, setting.k, setting.position_ids, table, impl=gpu_impl)


def test_refusals_wait_for_nothing(device: torch.device, unsynchronised: Any) -> None:
    setting = Setting(device)
    with unsynchronised, pytest.raises(rk.RopeScaleValueError, match="position_ids"):
        rk.apply_rotary_qk(setting.q, setting.k, setting.position_ids[:3], setting.table)


def test_a_call_is_one_kernel_and_no_copy(fused_impl: str, device: torch.device) -> None:
    setting = Setting(device)
    arguments: Any = (setting.q, setting.k, setting.position_ids, setting.table)
    rk.apply_rotary_qk(*arguments, impl=fused_impl)
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        rk.apply_rotary_qk(*arguments, impl=fused_impl)
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    found = [event.name for event in profile.events() if event.device_type == on_device]
    assert len(found) == 1, found
    assert "rotary_qk" in found[0]


def test_tensors_of_another_device_are_refused_by_name(device: torch.device) -> None:
    setting = Setting(device)
    with pytest.raises(rk.RopeScaleValueError, match=r"position_ids: expected .*cuda"):
        rk.apply_rotary_qk(setting.q, setting.k, setting.position_ids.cpu(), setting.table)
    with pytest.raises(rk.RopeScaleValueError, match=r"table: expected .*cuda"):
        rk.apply_rotary_qk(
            setting.q, setting.k, setting.position_ids, rk.RotaryTable(scalings()[0])
        )
