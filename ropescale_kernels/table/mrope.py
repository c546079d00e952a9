"""Which position axis each pair of channels follows (M-RoPE)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from ..errors import RopeScaleTypeError, RopeScaleValueError, expected


def sections_of(section: Sequence[int], interleaved: bool, num_pairs: int) -> tuple[range, ...]:
    """Turn M-RoPE sections into the pairs of each axis after the first, which has the rest.

    Args:
        section: Pairs per axis (`mrope_section` of a config).
        interleaved: False: axis after axis in consecutive runs (Qwen2-VL). True: the axes take
            turns, pair j following axis j mod n while that axis has pairs left, and axis 0 takes
            the rest (Qwen3-VL, `mrope_interleaved`).
        num_pairs: rotary_dim // 2, which the sections sum to.

    Raises:
        RopeScaleTypeError: An entry that is no int.
        RopeScaleValueError: An empty list, a negative entry, a sum that is not num_pairs, or
            interleaved sections that do not fit.
    """
    if isinstance(section, str) or not isinstance(section, Sequence):
        kind = type(section).__name__
        raise RopeScaleTypeError(expected("mrope_section", "a list of int", kind))
    sizes = list(section)
    if any(isinstance(n, bool) or not isinstance(n, int) for n in sizes):
        raise RopeScaleTypeError(expected("mrope_section", "a list of int", sizes))
    total, num_axes = sum(sizes), len(sizes)
    if not sizes or min(sizes) < 0 or total == 0:
        raise RopeScaleValueError(expected("mrope_section", "counts of pairs", sizes))
    if total != num_pairs:
        raise RopeScaleValueError(
            expected("mrope_section", f"a sum of rotary_dim // 2 = {num_pairs}", sizes)
        )
    later = list(enumerate(sizes))[1:]
    if not interleaved:
        ends = list(accumulate(sizes))
        return tuple([range(ends[axis] - size, ends[axis]) for axis, size in later])
    if any(size and axis + (size - 1) * num_axes >= total for axis, size in later):
        raise RopeScaleValueError(
            expected("mrope_section", f"axes that fit when interleaved over {total}", sizes)
        )
    return tuple([range(axis, axis + size * num_axes, num_axes) for axis, size in later])


def axis_of_each_pair(section: Sequence[int], interleaved: bool, num_pairs: int) -> list[int]:
    """Return the position axis of each pair; arguments and errors as in `sections_of`."""
    ids = [0] * num_pairs
    for axis, pairs in enumerate(sections_of(section, interleaved, num_pairs), start=1):
        for pair in pairs:
            ids[pair] = axis
    return ids


def refuse_without_section(section: Sequence[int] | None, interleaved: bool) -> None:
    """Refuse the order of sections that are not given."""
    if interleaved and section is None:
        want = "False without mrope_section"
        raise RopeScaleValueError(expected("mrope_interleaved", want, True))


def axis_ids_of(section: Sequence[int] | None, interleaved: bool, num_pairs: int) -> Tensor | None:
    """Return `axis_of_each_pair` as int32 `(num_pairs,)`, or None where `section` is None."""
    if section is None:
        return None
    ids = axis_of_each_pair(section, interleaved, num_pairs)
    return torch.tensor(ids, dtype=torch.int32, device="cpu")
