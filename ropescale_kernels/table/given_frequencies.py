"""Frequencies and an attention factor that the caller holds: their checks, and float64 turns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.compiler import is_compiling, is_dynamo_compiling

from ..errors import RopeScaleTypeError, RopeScaleUnsupportedError, RopeScaleValueError, expected
from ..reference import turns_from_float64
from ..scaling.validate import FLOAT32_MAX, FLOAT32_TINY


def check_inv_freq(inv_freq: Any) -> None:
    """Check frequencies. Their values are not read inside a graph."""
    if not isinstance(inv_freq, Tensor):
        raise RopeScaleTypeError(expected("inv_freq", "a tensor", type(inv_freq).__name__))
    if inv_freq.layout is not torch.strided:
        raise RopeScaleTypeError(expected("inv_freq", "a dense tensor", str(inv_freq.layout)))
    dtype = inv_freq.dtype
    if dtype not in (torch.float32, torch.float64):
        hint = "A narrower type has already lost the frequencies the model was trained with."
        hint = hint if dtype.is_floating_point else ""
        raise RopeScaleTypeError(expected("inv_freq", "float32 or float64", str(dtype), hint))
    shape = tuple(inv_freq.shape)
    if len(shape) != 1 or not 1 <= shape[0] <= 256:
        want = "shape (rotary_dim // 2,) of 1 to 256 pairs"
        raise RopeScaleValueError(expected("inv_freq", want, f"shape {shape}"))
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


def check_factor(attention_factor: Any, magnitude: str) -> Tensor:
    """Return an attention factor as a tensor. The value of a tensor is not read inside a graph.

    Args:
        attention_factor: A float, or a floating tensor of one element.
        magnitude: As in `RotaryTable`.
    """
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
        if value.is_meta:
            raise RopeScaleValueError(
                expected("attention_factor", "a tensor with a value", "a meta tensor")
            )
    elif isinstance(attention_factor, bool) or not isinstance(attention_factor, int | float):
        kind = type(attention_factor).__name__
        raise RopeScaleTypeError(expected("attention_factor", "a float", kind))
    number = float(
        attention_factor.detach() if isinstance(attention_factor, Tensor) else attention_factor
    )
    check_range("attention_factor", number, magnitude)
    if isinstance(attention_factor, Tensor):
        return attention_factor
    return torch.tensor(number, dtype=torch.float64, device="cpu")


def check_range(name: str, attention_factor: float, magnitude: str) -> None:
    """Refuse an attention factor that float32 cannot hold as the table needs it."""
    scale = attention_factor * attention_factor if magnitude == "query" else attention_factor
    if attention_factor < 0 or not FLOAT32_TINY <= scale <= FLOAT32_MAX:
        want = "a finite value above 0 that float32 can hold"
        want += ", and its square, which scales q" if magnitude == "query" else ""
        raise RopeScaleValueError(expected(name, want, attention_factor))


# Dynamo would follow the integers of each frequency. torch.compiler.disable imports Dynamo at once,
# which doubles the time of the import; this decorator imports it in the first call.
@_disable_dynamo
def _turns_outside_graphs(inv_freq: Tensor) -> Tensor:
    return _turns(inv_freq)


def turns_of_float64(inv_freq: Tensor) -> Tensor:
    """Return the turns per token of float64 frequencies, from their own bits."""
    return _turns_outside_graphs(inv_freq) if is_dynamo_compiling() else _turns(inv_freq)


def _turns(inv_freq: Tensor) -> Tensor:
    turns = [turns_from_float64(x) for x in inv_freq.detach().cpu().tolist()]
    words = [[t & 0xFFFFFFFF, t >> 32] for t in turns]
    signed = [[w - (1 << 32) if w >> 31 else w for w in pair] for pair in words]
    return torch.tensor([signed], dtype=torch.int32, device="cpu")
