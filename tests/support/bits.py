"""Equality of bits, as every test means it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# The element types that are rotated, and integers of their width.
WORDS = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


def differing(got: Tensor, want: Tensor) -> int:
    """Count elements of other bits; a NaN equals any NaN, and +0 is not -0."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    words = WORDS[got.dtype]
    same = got.contiguous().view(words) == want.contiguous().view(words)
    return int((~(same | (got.isnan() & want.isnan()))).sum())


def assert_same_bits(got: Any, want: Any) -> None:
    """Compare two results: tensors, None, or tuples of them."""
    if isinstance(want, tuple):
        assert len(got) == len(want)
        for x, y in zip(got, want, strict=True):
            assert_same_bits(x, y)
    elif want is None:
        assert got is None
    else:
        count = differing(got, want)
        assert count == 0, f"{count} of {want.numel()} elements differ"
