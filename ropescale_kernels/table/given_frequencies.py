"""Frequencies and an attention factor that the caller holds: their checks, and float64 turns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling

from ..errors import RopeScaleTypeError, RopeScaleUnsupportedError, RopeScaleValueError, expected
from ..reference import turns_from_float64


def check_inv_freq(inv_freq: Any) -> None:
    """Check frequencies. Their values are not read inside a graph."""
    if not isinstance(inv_freq, Tensor):
        raise RopeScaleTypeError(expected("inv_freq", "a tensor", type(inv_freq).__name__))
    if inv_freq.dtype not in (torch.float32, torch.float64):
        raise RopeScaleTypeError(
            expected(
                "inv_freq",
                "float32 or float64",
                str(inv_freq.dtype),
                "A narrower type has already lost the frequencies the model was trained with.",
            )
        )
    shape = tuple(inv_freq.shape)
    if len(shape) != 1 or not 1 <= shape[0] <= 256:
        raise RopeScaleValueError(
            expected("inv_freq", "shape (rotary_dim // 2,) of 1 to 256 pairs", shape)
        )
    if is_compiling():
        if inv_freq.dtype == torch.float64:
            hint = "Build the table before, or pass float32."
            raise RopeScaleUnsupportedError(
                expected("inv_freq", "float32 in a graph", "torch.float64", hint)
            )
        return
    if inv_freq.is_meta:
        raise RopeScaleValueError(expected("inv_freq", "a tensor with values", "a meta tensor"))
    finite = torch.isfinite(inv_freq.detach())
    if not bool(finite.all()):
        at = int((~finite).nonzero()[0])
        raise RopeScaleValueError(
            expected(f"inv_freq[{at}]", "a finite value", float(inv_freq[at]))
        )


def check_factor(attention_factor: Any) -> Tensor:
    """Return an attention factor as a tensor. The value of a tensor is not read inside a graph."""
    if isinstance(attention_factor, Tensor):
        value = attention_factor.detach()
        if not value.is_floating_point():
            raise RopeScaleTypeError(
                expected("attention_factor", "a float or a floating tensor", str(value.dtype))
            )
        if value.numel() != 1:
            got = f"shape {tuple(value.shape)}"
            raise RopeScaleValueError(expected("attention_factor", "one element", got))
        if is_compiling():
            return attention_factor
    elif isinstance(attention_factor, bool) or not isinstance(attention_factor, int | float):
        kind = type(attention_factor).__name__
        raise RopeScaleTypeError(expected("attention_factor", "a float", kind))
    number = float(
        attention_factor.detach() if isinstance(attention_factor, Tensor) else attention_factor
    )
    if not 0.0 < number < float("inf"):
        raise RopeScaleValueError(expected("attention_factor", "a finite value above 0", number))
    if isinstance(attention_factor, Tensor):
        return attention_factor
    return torch.tensor(number, dtype=torch.float64, device="cpu")


# Dynamo would follow the integers of each frequency.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def turns_of_float64(inv_freq: Tensor) -> Tensor:
    """Return the turns per token of float64 frequencies, from their own bits."""
    turns = [turns_from_float64(x) for x in inv_freq.detach().cpu().tolist()]
    words = [[t & 0xFFFFFFFF, t >> 32] for t in turns]
    signed = [[w - (1 << 32) if w >> 31 else w for w in pair] for pair in words]
    return torch.tensor([signed], dtype=torch.int32, device="cpu")
