"""The clocks of a CPU and of a CUDA device, and CUDA graphs of several calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

# A stream holds about a thousand launches before the host has to wait, and a call of unfused
# operations makes up to twenty launches.
CALLS_IN_A_QUEUE = 20
# Seconds that the device is kept busy for each second that the host needs, at the first try. The
# second number multiplies them at each further try.
_MARGIN = 1.5
_MARGIN_OF_A_RETRY = 2.0
_TRIES = 4
# Seconds of work added, because the host's time varies from call to call.
_LEAST_BUSY = 50e-6
# An idle device takes tens of milliseconds to raise its clock.
_WARM_UP_CYCLES = 400_000_000
_CALIBRATION_CYCLES = 20_000_000
_CALIBRATION_AGREES = 0.02


class Sample(NamedTuple):
    """One reading of a clock.

    Attributes:
        seconds: Time of all calls of the sample together.
        host_bound: Whether the device waited for the host. The time then includes the host's.
    """

    seconds: float
    host_bound: bool = False


class Clock(Protocol):
    """Clock of one kind of device.

    Attributes:
        most_repeats: Calls that a sample may hold.
        resolution: Shortest call, in seconds, whose time a sample of one call can tell.
    """

    most_repeats: int
    resolution: float

    def sample(self, call: Callable[[], object], repeats: int, cache: str) -> Sample:
        """Bring the caches into a state, then time `repeats` calls from begin to end.

        Args:
            call: The call.
            repeats: Calls in the sample.
            cache: "hot": the sample follows a call that is not timed. "flushed": the caches hold
                other data when the first call begins.
        """


class HostClock:
    """Wall-clock time, for calls that return when their work is done."""

    most_repeats = 1000
    resolution = 0.0

    def __init__(self) -> None:
        self._other = torch.zeros(2 * last_level_cache(), dtype=torch.uint8)

    def sample(self, call: Callable[[], object], repeats: int, cache: str) -> Sample:
        """Time calls one after another."""
        if cache == "flushed":
            self._other.add_(1)
        else:
            call()
        began = time.perf_counter()
        for _ in range(repeats):
            call()
        return Sample(time.perf_counter() - began)


class DeviceClock:
    """Time between two events on the current CUDA stream.

    The device is kept busy while the host queues the calls, for longer than the host took to queue
    them a moment before. The first event tells whether that was long enough: if the device has
    passed it when the last call is queued, the host was late. The sample is then taken again behind
    more work. A call that waits for the device itself is late every time; its sample is marked as
    host bound.
    """

    most_repeats = CALLS_IN_A_QUEUE
    # Two events resolve about half a microsecond, and the time between them includes a launch.
    resolution = 20e-6

    def __init__(self) -> None:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        # This buffer is only read, so a flush leaves no cache line that has to be written back.
        self._other = torch.ones(4 * properties.L2_cache_size, dtype=torch.uint8, device="cuda")
        self._cycles_per_second = self._calibrated()

    def sample(self, call: Callable[[], object], repeats: int, cache: str) -> Sample:
        """Time calls that queue up on the device."""
        busy = _MARGIN * self._seconds_to_queue(call, repeats) + _LEAST_BUSY
        for _ in range(_TRIES):
            sample = self._queued(call, repeats, cache, busy)
            if not sample.host_bound:
                break
            busy *= _MARGIN_OF_A_RETRY
        return sample

    def _queued(self, call: Callable[[], object], repeats: int, cache: str, busy: float) -> Sample:
        torch.cuda.synchronize()
        if cache == "flushed":
            self._other.sum()
        else:
            call()
        self._sleep(int(busy * self._cycles_per_second))
        began, ended = _event(), _event()
        began.record()
        for _ in range(repeats):
            call()
        ended.record()
        host_bound: bool = began.query()  # type: ignore[no-untyped-call]
        return Sample(_seconds_between(began, ended), host_bound)

    def _seconds_to_queue(self, call: Callable[[], object], repeats: int) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(repeats):
            call()
        return time.perf_counter() - began

    def _calibrated(self) -> float:
        """Return the cycles that the device sleeps in a second, once its clock has risen."""
        self._sleep(_WARM_UP_CYCLES)
        readings = [self._cycles_in_a_second()]
        for _ in range(20):
            readings.append(self._cycles_in_a_second())
            if abs(readings[-1] / readings[-2] - 1) <= _CALIBRATION_AGREES:
                break
        return readings[-1]

    def _cycles_in_a_second(self) -> float:
        began, ended = _event(), _event()
        began.record()
        self._sleep(_CALIBRATION_CYCLES)
        ended.record()
        return _CALIBRATION_CYCLES / _seconds_between(began, ended)

    @staticmethod
    def _sleep(cycles: int) -> None:
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]


def clock_of(device: torch.device) -> Clock:
    """Return the clock of a device."""
    return DeviceClock() if device.type == "cuda" else HostClock()


def graph_of(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """Capture calls in one CUDA graph, one after another.

    Returns:
        The replay of the graph. It keeps the calls, and with them the buffers that the graph reads
        and writes, and returns what the calls returned when they were captured.

    Raises:
        RuntimeError: A call cannot be captured.
    """
    side: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # A capture may not contain the compilation, loading or allocation of a first call.
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        # Results that were dropped would lend their memory to the next call's.
        results = [call() for call in calls]
    kept = tuple(calls), results

    def replay() -> object:
        graph.replay()
        return kept

    return replay


def last_level_cache() -> int:
    """Return the bytes of the first core's largest cache; 32 MiB if the system does not tell."""
    units = {"K": 1 << 10, "M": 1 << 20}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text[:-1].isdigit() and text[-1] in units:
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes, default=32 << 20)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _seconds_between(began: torch.cuda.Event, ended: torch.cuda.Event) -> float:
    ended.synchronize()
    milliseconds: float = began.elapsed_time(ended)
    return milliseconds / 1e3
