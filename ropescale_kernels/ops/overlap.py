"""Overlap of two strided buffers, decided by arithmetic on shapes and strides.

Rows are runs of the last axis (stride 1). An element is shared if two rows come closer than their
length. Comparing ranges or residues proves the common layouts apart. Other layouts are decided
exactly, by trying every offset along all axes but the longest, up to a limit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

# Above this many offsets no overlap is searched for, and none is refused.
_MOST_OFFSETS = 200_000


class Layout(NamedTuple):
    """A buffer: `start` and `strides` in elements, the last stride 1."""

    start: int
    shape: Sequence[int]
    strides: Sequence[int]

    @property
    def extent(self) -> int:
        """Elements from the first to one past the last."""
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))


def is_empty(layout: Layout) -> bool:
    """Return whether the buffer has no element."""
    return 0 in layout.shape


def overlaps_itself(layout: Layout) -> bool:
    """Return whether two different indices of one buffer provably name the same element."""
    axes = sorted((s, n) for n, s in zip(layout.shape, layout.strides, strict=True) if n > 1)
    if is_empty(layout):
        return False
    reach = 1
    nested = True
    for stride, size in axes:
        nested = nested and stride >= reach
        reach = max(reach, stride) if not nested else stride * (size - 1) + reach
    if nested:
        return False
    rows = [
        (s, -(n - 1), n - 1) for s, n in zip(layout.strides[:-1], layout.shape[:-1], strict=True)
    ]
    width = layout.shape[-1]
    return _hits([axis for axis in rows if axis[2] > 0], 0, -width + 1, width - 1, skip_zero=True)


def overlap(a: Layout, b: Layout) -> bool:
    """Return whether two buffers of one storage provably share an element."""
    if is_empty(a) or is_empty(b):
        return False
    if a.start + a.extent <= b.start or b.start + b.extent <= a.start:
        return False
    if _apart_by_residue(a, b):
        return False
    # b's row minus a's row, as an offset from b.start - a.start. Axes of equal stride are one.
    ranges: dict[int, list[int]] = {}
    for layout, sign in ((a, -1), (b, 1)):
        for n, s in zip(layout.shape[:-1], layout.strides[:-1], strict=True):
            low_high = ranges.setdefault(s, [0, 0])
            low_high[0 if sign < 0 else 1] += sign * (n - 1)
    axes = [(s, low, high) for s, (low, high) in ranges.items() if low != high]
    return _hits(axes, b.start - a.start, -(b.shape[-1] - 1), a.shape[-1] - 1, skip_zero=False)


def _apart_by_residue(a: Layout, b: Layout) -> bool:
    """Prove buffers apart whose inner blocks repeat with a common period, as in packed qkv."""
    order = sorted({*a.strides, *b.strides})
    for split in order:
        outer = [
            s
            for x in (a, b)
            for n, s in zip(x.shape, x.strides, strict=True)
            if n > 1 and s > split
        ]
        period = math.gcd(*outer) if outer else 0
        if period == 0:
            continue
        inner_a, inner_b = (
            1 + sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if s <= split)
            for x in (a, b)
        )
        distance = (b.start - a.start) % period
        if distance >= inner_a and distance + inner_b <= period:
            return True
    return False


def _hits(
    axes: list[tuple[int, int, int]], offset: int, low: int, high: int, *, skip_zero: bool
) -> bool:
    """Return whether offset + sum(stride * d) can lie in [low, high], each d in its range."""
    axes = sorted(axes, key=lambda axis: axis[2] - axis[1])
    if not axes:
        return not skip_zero and low <= offset <= high
    *tried, (stride, first, last) = axes
    if math.prod(hi - lo + 1 for _, lo, hi in tried) > _MOST_OFFSETS:
        return False
    for deltas in itertools.product(*(range(lo, hi + 1) for _, lo, hi in tried)):
        base = offset + sum(d * axis[0] for d, axis in zip(deltas, tried, strict=True))
        zero = skip_zero and not any(deltas)
        if stride == 0:
            if low <= base <= high and not (zero and first == last == 0):
                return True
            continue
        smallest = max(first, -((base - low) // stride))
        largest = min(last, (high - base) // stride)
        if smallest <= largest and not (zero and smallest == largest == 0):
            return True
    return False
