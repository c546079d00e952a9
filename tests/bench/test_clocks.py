"""The clocks: what a sample begins with, and a device's time apart from the host's."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ropescale_kernels.bench import clocks, timing

US = 1e-6


def test_longer_work_takes_longer_on_the_hosts_clock() -> None:
    clock = clocks.clock_of(torch.device("cpu"))
    assert isinstance(clock, clocks.HostClock)
    found = timing.interleave(
        {"short": lambda: sum(range(10)), "long": lambda: sum(range(100_000))},
        seconds=0.05,
        clock=clock,
    )
    assert found["long"].p50 > found["short"].p50
    assert not found["long"].host_bound


def test_a_hot_sample_of_the_host_follows_a_call_that_is_not_timed() -> None:
    clock, calls = clocks.HostClock(), []
    clock.sample(lambda: calls.append(1), 3, "hot")
    assert len(calls) == 4
    clock.sample(lambda: calls.append(1), 1, "flushed")
    assert len(calls) == 5


def test_the_largest_cache_of_this_machine_is_found() -> None:
    assert clocks.last_level_cache() >= 1 << 20


@pytest.mark.usefixtures("small_cache")
def test_flushing_writes_more_than_the_largest_cache_holds() -> None:
    clock = clocks.HostClock()
    before = clock._other.sum()
    clock.sample(lambda: None, 1, "hot")
    assert clock._other.sum() == before
    clock.sample(lambda: None, 1, "flushed")
    assert clock._other.sum() == before + len(clock._other)
    assert len(clock._other) >= 2 * clocks.last_level_cache() > 0


class Device:
    """Stands in for torch.cuda: a host and a device with a clock each, and a queue between them."""

    CYCLES_PER_SECOND = 1e9

    def __init__(self) -> None:
        self.host = self.idle_from = 0.0
        self.seen: list[str] = []

    def queue(self, work: float, host: float = 1 * US) -> None:
        """Let the host take a time to queue work that takes the device another."""
        self.host += host
        self.idle_from = max(self.idle_from, self.host) + work

    def call(self, work: float, host: float) -> Callable[[], None]:
        def run() -> None:
            self.seen.append("call")
            self.queue(work, host)

        return run

    def synchronize(self) -> None:
        self.host = max(self.host, self.idle_from)

    def _sleep(self, cycles: int) -> None:
        self.seen.append("sleep")
        self.queue(cycles / self.CYCLES_PER_SECOND)

    def Event(self, enable_timing: bool) -> Any:  # noqa: N802
        assert enable_timing
        event = SimpleNamespace(at=0.0)

        def record() -> None:
            event.at = max(self.idle_from, self.host)

        def synchronize() -> None:
            self.host = max(self.host, event.at)

        event.record, event.synchronize = record, synchronize
        event.query = lambda: event.at <= self.host
        event.elapsed_time = lambda other: (other.at - event.at) * 1e3
        return event

    def current_device(self) -> int:
        return 0

    def get_device_properties(self, _: object) -> Any:
        return SimpleNamespace(L2_cache_size=1 << 20)


class Buffer:
    """Stands in for the tensor that a flush reads."""

    def __init__(self, device: Device, size: int) -> None:
        self._device, self.size = device, size

    def sum(self) -> None:
        self._device.seen.append("flush")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    monkeypatch.setattr(torch, "cuda", device)
    monkeypatch.setattr(torch, "ones", lambda size, dtype, device: Buffer(torch.cuda, size))  # type: ignore[arg-type]
    monkeypatch.setattr(time, "perf_counter", lambda: device.host)
    return device


@pytest.fixture
def clock(device: Device) -> clocks.DeviceClock:
    clock = clocks.clock_of(torch.device("cuda"))
    assert isinstance(clock, clocks.DeviceClock)
    device.seen.clear()
    return clock


# Of a call: microseconds of the device and of the host. 20 calls of 50 us are longer to queue than
# a constant half of a millisecond.
@pytest.mark.parametrize(("work", "host"), [(2, 1), (2, 50), (3, 300), (1000, 10)])
def test_the_devices_time_is_read_however_long_the_host_takes(
    device: Device, clock: clocks.DeviceClock, work: float, host: float
) -> None:
    sample = clock.sample(device.call(work * US, host * US), 20, "hot")
    assert sample.seconds == pytest.approx(20 * work * US)
    assert not sample.host_bound


def test_a_device_that_is_not_kept_busy_would_show_the_hosts_time(
    device: Device, clock: clocks.DeviceClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_sleep", lambda cycles: None)
    sample = clock.sample(device.call(2 * US, 50 * US), 20, "hot")
    assert sample.seconds == pytest.approx(20 * 50 * US, rel=0.1)
    assert sample.host_bound


def test_a_host_that_slows_down_is_given_more_time(
    device: Device, clock: clocks.DeviceClock
) -> None:
    count = 0

    def call() -> None:
        nonlocal count
        count += 1
        # Quick while it is looked at, six times as slow from then on.
        device.queue(2 * US, (100 if count <= 20 else 600) * US)

    sample = clock.sample(call, 20, "hot")
    assert sample.seconds == pytest.approx(20 * 2 * US)
    assert not sample.host_bound


def test_a_call_that_waits_for_the_device_is_marked(
    device: Device, clock: clocks.DeviceClock
) -> None:
    def call() -> None:
        device.queue(2 * US)
        device.synchronize()

    assert clock.sample(call, 20, "hot").host_bound
    found = timing.interleave({"a": call}, seconds=0, clock=clock)
    assert found["a"].host_bound


def test_a_flush_only_reads_and_comes_right_before_the_sample(
    device: Device, clock: clocks.DeviceClock
) -> None:
    assert clock._other.size == 4 << 20  # type: ignore[operator]
    clock.sample(device.call(30 * US, 1 * US), 1, "flushed")
    assert device.seen == ["call", "flush", "sleep", "call"]
    device.seen.clear()
    clock.sample(device.call(30 * US, 1 * US), 2, "hot")
    assert device.seen == ["call", "call", "call", "sleep", "call", "call"]


def test_a_sleep_is_measured_in_the_devices_own_cycles(clock: clocks.DeviceClock) -> None:
    assert clock._cycles_per_second == pytest.approx(Device.CYCLES_PER_SECOND, rel=0.001)


def test_a_device_that_is_still_raising_its_clock_is_measured_again(device: Device) -> None:
    rising, sleep = iter([0.2, 0.4, 0.6, 0.8, 1.0, 1.0]), device._sleep

    def slow(cycles: int) -> None:
        sleep(int(cycles / next(rising, 1.0)))

    device._sleep = slow  # type: ignore[method-assign]
    clock = clocks.DeviceClock()
    assert clock._cycles_per_second == pytest.approx(Device.CYCLES_PER_SECOND, rel=0.001)


class Context:
    """Stands in for a stream's context and a graph's capture."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def __enter__(self) -> None:
        self._seen.append("begin")

    def __exit__(self, *_: object) -> None:
        self._seen.append("end")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a stand-in for torch.cuda's streams and graphs."""
    found: list[str] = []
    stream = SimpleNamespace(wait_stream=lambda other: None)
    stand_in = SimpleNamespace(
        Stream=lambda: stream,
        current_stream=lambda: stream,
        stream=lambda s: Context(found),
        graph=lambda g: Context(found),
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: found.append("replay")),
    )
    monkeypatch.setattr(torch, "cuda", stand_in)
    return found


def test_a_graph_holds_each_call_once_after_calls_that_are_not_captured(seen: list[str]) -> None:
    replay = clocks.graph_of([lambda n=n: seen.append(n) for n in "abc"])
    assert seen == ["begin", "a", "b", "c", "end"] * 2
    replay()
    assert seen[-1] == "replay"


@pytest.mark.usefixtures("seen")
def test_a_graph_keeps_the_buffers_that_it_works_on_and_no_longer() -> None:
    buffers = [torch.zeros(3) for _ in range(4)]
    living = [weakref.ref(x) for x in buffers]

    def call_on(x: torch.Tensor) -> Callable[[], torch.Tensor]:
        def call() -> torch.Tensor:
            result = x + 1
            living.append(weakref.ref(result))
            return result

        return call

    replay = clocks.graph_of([call_on(x) for x in buffers])
    del buffers
    gc.collect()
    captured = living[-4:]
    assert all(each() is not None for each in (*living[:4], *captured))
    # Each call of the capture has an output of its own.
    assert len({each().data_ptr() for each in captured}) == 4  # type: ignore[union-attr]
    del replay
    gc.collect()
    assert not any(each() is not None for each in living)
