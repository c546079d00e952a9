"""What is timed, in which order, and what becomes of the samples."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from ropescale_kernels.bench import timing


class Tape:
    """A clock that writes down what it is asked, and takes a microsecond a call."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def prepare(self, cache: str) -> None:
        self.seen.append(cache)

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        self.seen.append(f"timed {repeats}")
        for _ in range(repeats):
            call()
        return 1e-6 * repeats


def test_a_sample_of_hot_caches_follows_a_call_that_is_not_timed() -> None:
    tape = Tape()
    timing.interleave({"a": lambda: tape.seen.append("call")}, seconds=0, clock=tape)
    begun = tape.seen.index("timed 200")
    assert tape.seen[begun - 2 : begun] == ["hot", "call"]
    # Five rounds at least, each of 200 microseconds.
    assert tape.seen.count("timed 200") == 5


def test_a_sample_of_flushed_caches_is_one_call_after_the_flush() -> None:
    tape = Tape()
    calls = {name: (lambda n=name: tape.seen.append(n)) for name in ("a", "b")}
    timing.interleave(calls, seconds=0, clock=tape, cache="flushed")
    begun = tape.seen.index("flushed")
    one_round = ["flushed", "timed 1", "a", "flushed", "timed 1", "b"]
    assert tape.seen[begun:] == one_round * 5


def test_a_ratio_is_the_median_of_rounds() -> None:
    # The machine halves its speed after two rounds: medians of all would say 3 over 2.
    mine = timing.Timing((3.0, 3.0, 6.0, 6.0, 6.0))
    its = timing.Timing((2.0, 2.0, 4.0, 4.0, 4.4))
    assert mine.over(its) == pytest.approx((1.5, 1.4727, 1.5), abs=1e-4)
    assert mine.p50 == 6.0
    assert timing.Timing((1.0, 2.0, 3.0, 4.0, 5.0, 6.0)).spread == (2.0, 5.0)


def test_longer_work_takes_longer_on_the_hosts_clock() -> None:
    clock = timing.clock_of(torch.device("cpu"))
    assert isinstance(clock, timing.HostClock)
    found = timing.interleave(
        {"short": lambda: sum(range(10)), "long": lambda: sum(range(100_000))},
        seconds=0.05,
        clock=clock,
    )
    assert found["long"].p50 > found["short"].p50


def test_flushing_writes_more_than_the_largest_cache_holds() -> None:
    clock = timing.HostClock()
    before = clock._other.sum()
    clock.prepare("hot")
    assert clock._other.sum() == before
    clock.prepare("flushed")
    assert clock._other.sum() == before + len(clock._other)
    assert len(clock._other) >= 2 * timing._last_level_cache() > 0


def test_the_hosts_overhead_is_a_calls_time() -> None:
    assert timing.host_overhead(lambda: time.sleep(1e-4), seconds=0.01) > 100


class Device:
    """Stands in for torch.cuda, and writes down what is asked of it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.now = 0.0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: self.seen.append(name)

    def get_device_properties(self, _: object) -> object:
        return type("Properties", (), {"L2_cache_size": 1 << 20})

    def Event(self, enable_timing: bool) -> Device:  # noqa: N802
        assert enable_timing
        event = Device()
        event.record = lambda: setattr(event, "now", self.now)  # type: ignore[method-assign]
        event.elapsed_time = lambda other: other.now - event.now  # type: ignore[method-assign]
        return event

    def work(self) -> None:
        self.seen.append("work")
        self.now += 3.0


def test_the_devices_clock_reads_events_behind_a_busy_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, zeros = Device(), torch.zeros
    monkeypatch.setattr(torch, "cuda", device)
    monkeypatch.setattr(torch, "zeros", lambda size, dtype, device: zeros(size, dtype=dtype))
    clock = timing.clock_of(torch.device("cuda"))
    assert isinstance(clock, timing.DeviceClock)
    assert len(clock._other) == 4 << 20
    device.seen.clear()
    clock.prepare("flushed")
    assert clock._other.sum() == 4 << 20
    assert clock.seconds(device.work, 2) == pytest.approx(6e-3)
    assert device.seen == ["synchronize", "_sleep", "work", "work"]
