"""Compilers, dispatch modes, torch.func and forward-mode AD: is any of them at work in a call?

A call that went straight to the kernels would compute the values and drop everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import (
    TransformType,
    is_functionaltensor,
    is_functorch_wrapped_tensor,
    peek_interpreter_stack,
)
from torch.autograd import forward_ad

# Modes of make_fx(pre_dispatch=True), which torch keeps apart from the dispatch stack.
_PRE_DISPATCH_MODES: Any = torch._ops._mode_stack_state_for_pre_dispatch
_set_tracing_state: Any = torch._C._set_tracing_state  # type: ignore[attr-defined]


def in_forward_ad() -> bool:
    """Return whether a level of forward-mode AD is entered; any tensor may then carry a tangent."""
    return forward_ad._current_level >= 0


def in_trace_or_mode() -> bool:
    """Return whether a graph is being made, or a dispatch mode (a tracer, a counter) is entered."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._is_tracing()
        or _PRE_DISPATCH_MODES.count() > 0
    )


# The state of torch.jit.trace while `untraced` hides it.
_paused_trace: ContextVar[Any] = ContextVar("paused_trace", default=None)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def untraced(check: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return a check of arguments that torch.jit.trace does not record.

    A traced size is a tensor, so torch would warn of each comparison. The recorded operator checks
    its arguments whenever the graph runs. A view that the check makes of an argument is made by a
    function that `recorded` decorates; otherwise the graph would hold its values.
    """
    if torch.compiler.is_compiling() or not torch._C._is_tracing():
        return check

    def checked(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        state = torch._C._get_tracing_state()
        token = _paused_trace.set(state)
        _set_tracing_state(None)
        try:
            return check(*args, **kwargs)
        finally:
            _set_tracing_state(state)
            _paused_trace.reset(token)

    return checked


def recorded(make: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return a function whose operations torch.jit.trace records, even inside an untraced check."""

    @wraps(make)
    def made(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        if torch.compiler.is_compiling() or _paused_trace.get() is None:
            return make(*args, **kwargs)
        _set_tracing_state(_paused_trace.get())
        try:
            return make(*args, **kwargs)
        finally:
            _set_tracing_state(None)

    return made


def needs_autograd_function() -> bool:
    """Return whether a transform of torch.func is active that sees an autograd.Function alone.

    torch.func.functionalize does not know autograd.Function, and sees operators.
    """
    if not torch._C._are_functorch_transforms_active():
        return False
    if torch.compiler.is_compiling():
        return True
    return peek_interpreter_stack().key() != TransformType.Functionalize


def is_transformed(*tensors: Tensor | None) -> bool:
    """Return whether a write to one of the tensors would be lost to torch.func or forward-mode AD.

    torch.func.functionalize sees the writes.
    """
    return in_forward_ad() or any(
        x is not None and is_functorch_wrapped_tensor(x) and not is_functionaltensor(x)
        for x in tensors
    )


def must_be_copied(x: Tensor) -> bool:
    """Return whether only a copy is seen as a write to `x`.

    torch.jit.trace has no use for an operator without results, and the exporter to ONNX drops such
    an operator. torch.func.functionalize knows no operator of this package that writes.
    """
    if torch.compiler.is_compiling():
        return False
    return x.is_neg() or is_functionaltensor(x) or torch._C._is_tracing()
