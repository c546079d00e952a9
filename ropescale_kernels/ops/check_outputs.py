"""Checks of written tensors: output buffers, and q and k that are rotated in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ..errors import (
    RopeScaleRuntimeError,
    RopeScaleTypeError,
    RopeScaleUnsupportedError,
    RopeScaleValueError,
    expected,
)
from .overlap import Layout, overlap, overlaps_itself
from .transforms import is_transformed


def check_in_place(q: Tensor, k: Tensor | None) -> None:
    """Refuse an in-place call that would write an element twice, or that autograd forbids."""
    _refuse_transforms(q, k)
    if torch.is_grad_enabled():
        for name, x in (("q", q), ("k", k)):
            if x is not None and x.requires_grad and x.is_leaf:
                hint = "Use apply_rotary_qk, or torch.no_grad()."
                raise RopeScaleRuntimeError(
                    expected(name, "no leaf that requires grad in place", "such a leaf", hint)
                )
    _refuse_self_overlap("q", q)
    if k is not None:
        _refuse_self_overlap("k", k)
        _refuse_overlap("k", k, "q", q)


def check_out(q: Tensor, k: Tensor | None, out: Any) -> tuple[Tensor, Tensor | None]:
    """Check `out`: a pair of buffers for q and k, or q's alone where there is no k."""
    buffers = (out, None) if isinstance(out, Tensor) and k is None else out
    if not isinstance(buffers, tuple | list) or len(buffers) != 2:
        want = "a pair (q_out, k_out)" + (", or q_out alone" if k is None else "")
        raise RopeScaleTypeError(expected("out", want, type(out).__name__))
    if torch.is_grad_enabled() and any(
        isinstance(x, Tensor) and x.requires_grad for x in (q, k, *buffers)
    ):
        hint = "Leave out=None, or use torch.no_grad()."
        raise RopeScaleRuntimeError(
            expected("out", "no tensor that requires grad in the call", "one that does", hint)
        )
    _refuse_transforms(q, k)
    q_out, k_out = buffers
    _check_buffer("out[0]", q_out, q)
    if (k is None) != (k_out is None):
        want = "None, as k is None" if k is None else "a buffer for k"
        raise RopeScaleTypeError(expected("out[1]", want, type(k_out).__name__))
    if k is not None and k_out is not None:
        _check_buffer("out[1]", k_out, k)
        _refuse_overlap("out[1]", k_out, "out[0]", q_out)
        _refuse_overlap("out[0]", q_out, "k", k)
        _refuse_overlap("out[1]", k_out, "q", q)
        _refuse_partial("out[1]", k_out, "k", k)
    _refuse_partial("out[0]", q_out, "q", q)
    return q_out, k_out


def _refuse_transforms(q: Tensor, k: Tensor | None) -> None:
    if not torch.compiler.is_compiling() and is_transformed(q, k):
        got = "a torch.func transform or forward-mode AD"
        hint = "Use apply_rotary_qk without out."
        raise RopeScaleUnsupportedError(
            expected("q", "plain tensors where one is written", got, hint)
        )


def _check_buffer(name: str, out: Any, x: Tensor) -> None:
    if not isinstance(out, Tensor):
        raise RopeScaleTypeError(expected(name, "a torch.Tensor", type(out).__name__))
    if out.dtype != x.dtype:
        raise RopeScaleTypeError(expected(name, f"{x.dtype}", str(out.dtype)))
    if out.device != x.device:
        raise RopeScaleValueError(expected(name, f"device {x.device}", str(out.device)))
    if out.shape != x.shape:
        raise RopeScaleValueError(
            expected(name, f"shape {tuple(x.shape)}", f"shape {tuple(out.shape)}")
        )
    if out.stride(-1) != 1:
        raise RopeScaleValueError(expected(name, "a last stride of 1", out.stride(-1)))
    if not torch.compiler.is_compiling() and out.is_neg():
        raise RopeScaleValueError(expected(name, "a plain buffer", "a lazily negated view"))
    _refuse_self_overlap(name, out)


def _has_memory(x: Tensor) -> bool:
    # A graph in the making has no memory, and copies buffers that overlap.
    if torch.compiler.is_compiling() or is_functorch_wrapped_tensor(x):
        return False
    return type(x) in (Tensor, torch.nn.Parameter) and not x.is_meta


def _layout(x: Tensor) -> Layout:
    return Layout(x.data_ptr() // x.element_size(), x.shape, x.stride())


def _refuse_self_overlap(name: str, x: Tensor) -> None:
    if _has_memory(x) and not x.is_contiguous() and overlaps_itself(_layout(x)):
        got = f"strides {x.stride()} of shape {tuple(x.shape)}"
        raise RopeScaleValueError(
            expected(name, "elements that do not share memory, as it is written", got)
        )


def _refuse_overlap(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    if not (_has_memory(x) and _has_memory(other)):
        return
    if x.is_contiguous() and other.is_contiguous():
        # Two addresses decide the usual case.
        first, second = x.data_ptr(), other.data_ptr()
        if first + x.nbytes <= second or second + other.nbytes <= first:
            return
    if overlap(_layout(x), _layout(other)):
        raise RopeScaleValueError(
            expected(name, f"memory apart from {other_name}", "buffers that overlap")
        )


def _refuse_partial(name: str, out: Tensor, x_name: str, x: Tensor) -> None:
    """Accept the same elements in the same order (in place), and refuse any other overlap."""
    same = _has_memory(out) and _has_memory(x) and out.data_ptr() == x.data_ptr()
    if same and out.stride() == x.stride():
        return
    _refuse_overlap(name, out, x_name, x)
