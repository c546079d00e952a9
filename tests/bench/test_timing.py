"""What is timed, in which order, and what becomes of the samples."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from ropescale_kernels.bench import timing
from ropescale_kernels.bench.clocks import Sample


class Tape:
    """A clock that writes down what it is asked, and takes a microsecond a call."""

    most_repeats = 1000
    resolution = 0.0

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.late = False

    def sample(self, call: Callable[[], object], repeats: int, cache: str) -> Sample:
        self.seen.append(f"{cache} {repeats}")
        for _ in range(repeats):
            call()
        return Sample(1e-6 * repeats, self.late)


def test_short_calls_are_repeated_within_a_sample() -> None:
    tape = Tape()
    found = timing.interleave({"a": lambda: None}, seconds=0, clock=tape)
    # Five rounds at least, each of 200 microseconds.
    assert tape.seen == ["hot 1", *["hot 200"] * 5]
    assert found["a"].samples == pytest.approx((1.0,) * 5)
    tape.most_repeats = 20
    timing.interleave({"a": lambda: None}, seconds=0, clock=tape)
    assert tape.seen[-1] == "hot 20"


def test_a_sample_of_flushed_caches_is_one_call_in_turn() -> None:
    tape = Tape()
    calls = {name: (lambda n=name: tape.seen.append(n)) for name in ("a", "b")}
    timing.interleave(calls, seconds=0, clock=tape, cache="flushed")
    assert tape.seen == ["a", "b", *["flushed 1", "a", "flushed 1", "b"] * 5]


def test_what_calls_many_times_is_told_by_the_call() -> None:
    found = timing.interleave({"graph": lambda: None}, seconds=0, clock=Tape(), calls_each=10)
    assert found["graph"].p50 == pytest.approx(0.1)


def test_rounds_in_which_the_host_was_late_are_told() -> None:
    tape = Tape()
    assert not timing.interleave({"a": lambda: None}, seconds=0, clock=tape)["a"].host_bound
    tape.late = True
    assert timing.interleave({"a": lambda: None}, seconds=0, clock=tape)["a"].host_bound


def test_a_ratio_is_the_median_of_rounds() -> None:
    # The machine halves its speed after two rounds: medians of all would say 3 over 2.
    mine = timing.Timing((3.0, 3.0, 6.0, 6.0, 6.0))
    its = timing.Timing((2.0, 2.0, 4.0, 4.0, 4.4))
    assert mine.over(its) == pytest.approx((1.5, 1.4727, 1.5), abs=1e-4)
    assert mine.p50 == 6.0
    assert timing.Timing((1.0, 2.0, 3.0, 4.0, 5.0, 6.0)).spread == (2.0, 5.0)


def test_the_hosts_overhead_is_a_calls_time() -> None:
    assert timing.host_overhead(lambda: time.sleep(1e-4), seconds=0.01) > 100
