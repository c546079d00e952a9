"""Which position axis each pair of channels follows (M-RoPE)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import RopeScaleTypeError, RopeScaleValueError, expected


def axis_ids_of(section: Sequence[int] | None, interleaved: bool, num_pairs: int) -> Tensor | None:
    """Turn M-RoPE sections into one axis index per pair.

    Args:
        section: Pairs per axis (`mrope_section` of a config), or None for one axis.
        interleaved: False: axis after axis in consecutive runs (Qwen2-VL). True: the axes take
            turns, pair j following axis j mod n while that axis has pairs left, and axis 0 takes
            the rest (Qwen3-VL, `mrope_interleaved`).
        num_pairs: rotary_dim // 2, which the sections sum to.

    Returns:
        int32 `(num_pairs,)`, or None where `section` is None.

    Raises:
        RopeScaleTypeError: An entry that is no int.
        RopeScaleValueError: An empty list, a negative entry, a sum that is not num_pairs, or
            interleaved sections that do not fit.
    """
    if section is None:
        return None
    sizes = list(section)
    if any(isinstance(n, bool) or not isinstance(n, int) for n in sizes):
        raise RopeScaleTypeError(expected("mrope_section", "a list of int", sizes))
    total = sum(sizes)
    if not sizes or min(sizes) < 0 or total == 0:
        raise RopeScaleValueError(expected("mrope_section", "counts of pairs", sizes))
    if total != num_pairs:
        raise RopeScaleValueError(
            expected("mrope_section", f"a sum of rotary_dim // 2 = {num_pairs}", sizes)
        )
    if not interleaved:
        ids = [axis for axis, size in enumerate(sizes) for _ in range(size)]
        return torch.tensor(ids, dtype=torch.int32, device="cpu")
    ids = [0] * total
    num_axes = len(sizes)
    for axis, size in enumerate(sizes[1:], start=1):
        if size and axis + (size - 1) * num_axes >= total:
            raise RopeScaleValueError(
                expected("mrope_section", f"axes that fit when interleaved over {total}", sizes)
            )
        for turn in range(size):
            ids[axis + turn * num_axes] = axis
    return torch.tensor(ids, dtype=torch.int32, device="cpu")
