"""Timing calls against one another in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call: the median, and the quantiles that 20% of samples lie outside."""

    p50: float
    p20: float
    p80: float
    samples: int


def interleave(
    calls: dict[str, Callable[[], object]],
    *,
    seconds: float,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Time every call in turn, round after round, so that drift of the machine meets all alike.

    Args:
        calls: Name to call; nothing but the call is timed. Short calls are repeated within one
            sample, so that the clock costs nothing.
        seconds: Rough time to spend in all; at least 5 rounds are made.
        progress: Called after each round.

    Returns:
        Name to timing.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        began = time.perf_counter()
        call()
        once = time.perf_counter() - began
        repeats[name] = max(1, min(1000, int(200e-6 / max(once, 1e-9))))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        deadline = time.perf_counter() + seconds
        while len(next(iter(samples.values()))) < 5 or time.perf_counter() < deadline:
            for name, call in calls.items():
                count = range(repeats[name])
                began = time.perf_counter()
                for _ in count:
                    call()
                samples[name].append((time.perf_counter() - began) / len(count) * 1e6)
            progress()
    finally:
        if collecting:
            gc.enable()
    return {name: _summary(values) for name, values in samples.items()}


def _summary(values: list[float]) -> Timing:
    quintiles = statistics.quantiles(values, n=5, method="inclusive")
    return Timing(statistics.median(values), quintiles[0], quintiles[3], len(values))
