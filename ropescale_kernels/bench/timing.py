"""Timing calls against one another in one process, on the host's clock or the device's."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

# What one sample should take at least, so that reading the clock costs nothing.
_SAMPLE = 200e-6
_MOST_REPEATS = 1000
_FEWEST_ROUNDS = 5
# Far fewer than a stream holds before a launch has to wait, at ten launches a call.
_CALLS_IN_A_QUEUE = 20
# About half a millisecond: longer than the host takes to launch the longest chain of operations.
_BUSY_CYCLES = 10**6


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call, a sample for each round."""

    samples: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The quantiles that 20% of samples lie below, and above."""
        return _spread(self.samples)

    def over(self, other: Timing) -> tuple[float, float, float]:
        """Give the median ratio to another call, round by round, and its spread.

        Within a round the machine is the same for both, however it drifts over all.
        """
        ratios = [mine / its for mine, its in zip(self.samples, other.samples, strict=True)]
        return statistics.median(ratios), *_spread(ratios)


class Clock(Protocol):
    """How a device's work is timed."""

    def prepare(self, cache: str) -> None:
        """Bring the caches into the state a sample begins with."""

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        """Time `repeats` calls, from the first's begin to the last's end on the device."""


class HostClock:
    """Wall-clock time, for work that is done when the call returns."""

    def __init__(self) -> None:
        self._other = torch.zeros(2 * _last_level_cache(), dtype=torch.uint8)

    def prepare(self, cache: str) -> None:
        """Fill the caches with other data, if that is asked."""
        if cache == "flushed":
            self._other.add_(1)

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        """Time calls one after another."""
        began = time.perf_counter()
        for _ in range(repeats):
            call()
        return time.perf_counter() - began


class DeviceClock:
    """Time between two events on the current CUDA stream.

    The device is kept busy first, so that calls queue up behind it: what is measured is the
    device's time unless the host takes longer to launch than the device to work.
    """

    def __init__(self) -> None:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self._other = torch.zeros(4 * properties.L2_cache_size, dtype=torch.uint8, device="cuda")

    def prepare(self, cache: str) -> None:
        """Fill the L2 cache with other data, if that is asked, and keep the device busy."""
        torch.cuda.synchronize()
        if cache == "flushed":
            self._other.add_(1)
        torch.cuda._sleep(_BUSY_CYCLES)  # type: ignore[no-untyped-call]

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        """Time calls that queue up on the device."""
        began = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        began.record()
        for _ in range(repeats):
            call()
        ended.record()
        ended.synchronize()
        milliseconds: float = began.elapsed_time(ended)
        return milliseconds / 1e3


def clock_of(device: torch.device) -> Clock:
    """Give the clock that sees a device's work end."""
    return DeviceClock() if device.type == "cuda" else HostClock()


def interleave(
    calls: dict[str, Callable[[], object]],
    *,
    seconds: float,
    clock: Clock,
    cache: str = "hot",
) -> dict[str, Timing]:
    """Time every call in turn, round after round, so that drift of the machine meets all alike.

    Args:
        calls: Name to call; nothing but the call is timed.
        seconds: Rough time to spend in all; at least 5 rounds are made.
        clock: Of the device the calls work on.
        cache: "hot": each sample follows a call that is not timed, and short calls are repeated
            within it. "flushed": a sample is one call, after the caches were filled with other
            data.

    Returns:
        Name to timing.
    """
    repeats = dict.fromkeys(calls, 1)
    for name, call in calls.items():
        call()
        clock.prepare("hot")
        if cache == "hot":
            once = max(clock.seconds(call, 1), 1e-9)
            repeats[name] = max(1, min(_MOST_REPEATS, int(_SAMPLE / once)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    rounds = 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        deadline = time.perf_counter() + seconds
        while rounds < _FEWEST_ROUNDS or time.perf_counter() < deadline:
            for name, call in calls.items():
                clock.prepare(cache)
                if cache == "hot":
                    call()
                count = repeats[name]
                samples[name].append(clock.seconds(call, count) / count * 1e6)
            rounds += 1
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(tuple(values)) for name, values in samples.items()}


def graphed(call: Callable[[], object]) -> Callable[[], None]:
    """Capture a call in a CUDA graph and give its replay.

    Raises:
        RuntimeError: The call cannot be captured.
    """
    side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    replay: Callable[[], None] = graph.replay
    return replay


def host_overhead(call: Callable[[], object], *, seconds: float) -> float:
    """Give the median microseconds from calling to returning, on the host's clock.

    On a GPU the call returns when its work is queued; the device is waited for between samples, so
    that no queue fills up.
    """
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    call()
    while len(samples) < _FEWEST_ROUNDS or time.perf_counter() < deadline:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        call()
        began = time.perf_counter()
        for _ in range(_CALLS_IN_A_QUEUE):
            call()
        samples.append((time.perf_counter() - began) / _CALLS_IN_A_QUEUE * 1e6)
    return statistics.median(samples)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    quintiles = statistics.quantiles(values, n=5, method="inclusive")
    return quintiles[0], quintiles[3]


def _last_level_cache() -> int:
    """Bytes of the largest cache of the first core, or 32 MiB where the system does not say."""
    units = {"K": 1 << 10, "M": 1 << 20}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text[:-1].isdigit() and text[-1] in units:
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes, default=32 << 20)
