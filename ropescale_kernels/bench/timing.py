"""Timing of several calls in turn, in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .clocks import CALLS_IN_A_QUEUE, Clock, Sample

# Least seconds of one sample. The cost of reading the clock is negligible beside them.
_SAMPLE = 200e-6
_FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call, in every round.

    Attributes:
        samples: One for each round.
        host_bound: Whether the device waited for the host in most rounds. The median is then the
            host's time and not the device's.
    """

    samples: tuple[float, ...]
    host_bound: bool = False

    @property
    def p50(self) -> float:
        """Return the median."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Return the 20 % and the 80 % quantile."""
        return _spread(self.samples)

    def over(self, other: Timing) -> tuple[float, float, float]:
        """Return the median of the ratios to another call, round by round, and their spread.

        The machine drifts from round to round, but little within a round.
        """
        ratios = [mine / its for mine, its in zip(self.samples, other.samples, strict=True)]
        return statistics.median(ratios), *_spread(ratios)


def interleave(
    calls: dict[str, Callable[[], object]],
    *,
    seconds: float,
    clock: Clock,
    cache: str = "hot",
    calls_each: int = 1,
) -> dict[str, Timing]:
    """Time every call in turn, round after round, so that drift of the machine hits all equally.

    Args:
        calls: Calls by name. Nothing but the call is timed.
        seconds: Rough time to spend in all; at least 5 rounds are made.
        clock: Clock of the device that the calls work on.
        cache: "hot": each sample follows a call that is not timed, and short calls are repeated
            within it. "flushed": a sample is one call, after the caches were filled with other
            data.
        calls_each: Rotations that each of `calls` makes. The times are of one rotation.

    Returns:
        Timings by name.
    """
    repeats = dict.fromkeys(calls, 1)
    for name, call in calls.items():
        call()
        if cache == "hot":
            once = max(clock.sample(call, 1, "hot").seconds, 1e-9)
            repeats[name] = max(1, min(clock.most_repeats, int(_SAMPLE / once)))
    samples: dict[str, list[Sample]] = {name: [] for name in calls}
    rounds = 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        deadline = time.perf_counter() + seconds
        while rounds < _FEWEST_ROUNDS or time.perf_counter() < deadline:
            for name, call in calls.items():
                samples[name].append(clock.sample(call, repeats[name], cache))
            rounds += 1
    finally:
        if collecting:
            gc.enable()
    return {name: _timing(found, repeats[name] * calls_each) for name, found in samples.items()}


def host_overhead(call: Callable[[], object], *, seconds: float) -> float:
    """Return the median microseconds from calling to returning, on the host's clock.

    A call on a GPU returns when its work is queued. The host waits for the device between samples,
    so that the queue never fills up.
    """
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    call()
    while len(samples) < _FEWEST_ROUNDS or time.perf_counter() < deadline:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        call()
        began = time.perf_counter()
        for _ in range(CALLS_IN_A_QUEUE):
            call()
        samples.append((time.perf_counter() - began) / CALLS_IN_A_QUEUE * 1e6)
    return statistics.median(samples)


def _timing(samples: list[Sample], count: int) -> Timing:
    late = sum(sample.host_bound for sample in samples)
    microseconds = tuple(sample.seconds / count * 1e6 for sample in samples)
    return Timing(microseconds, host_bound=2 * late > len(samples))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    quintiles = statistics.quantiles(values, n=5, method="inclusive")
    return quintiles[0], quintiles[3]
