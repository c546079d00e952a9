"""The tensors that gradients of a table flow to, also where torch.func has wrapped them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack
from torch.autograd import forward_ad
from torch.compiler import is_compiling, is_dynamo_compiling

from ..errors import RopeScaleUnsupportedError, expected


def leaf_of(name: str, x: Tensor) -> Tensor | None:
    """Return the tensor that gradients flow to through x, or None if x requires no grad.

    Args:
        name: The argument that x was made from.
        x: A floating tensor.

    Raises:
        RopeScaleUnsupportedError: Under forward-mode AD, if x has a tangent or requires grad,
            because the operators there would drop both.
    """
    if is_dynamo_compiling():
        # A graph has no wrappers to look into.
        return x if x.requires_grad else None
    leaf = _wrapped_leaf(x)
    is_forward = forward_ad._current_level >= 0
    has_tangent = is_forward and _has_tangent(x)
    if has_tangent or (is_forward and leaf is not None):
        got = "one with a tangent" if has_tangent else "one that requires grad"
        hint = "Gradients flow to it in reverse mode alone."
        raise RopeScaleUnsupportedError(
            expected(name, "a constant tensor under forward-mode AD", got, hint)
        )
    return leaf


def requires_grad(x: Tensor) -> bool:
    """Return whether gradients flow to x, in torch.autograd or in any transform of torch.func."""
    if x.requires_grad or is_compiling():
        return x.requires_grad
    return torch._C._are_functorch_transforms_active() and _wrapped_leaf(x) is not None


def _wrapped_leaf(x: Tensor) -> Tensor | None:
    # Under nested transforms of torch.func, an inner grad wraps every tensor that it meets. Its
    # wrapper requires no grad, even if the wrapped tensor of an outer grad does.
    while not x.requires_grad:
        if not _functorch.is_gradtrackingtensor(x):
            return None
        x = _functorch.get_unwrapped(x)
    return x


def _has_tangent(x: Tensor) -> bool:
    if forward_ad.unpack_dual(x).tangent is not None:  # type: ignore[no-untyped-call]
        return True
    if not torch._C._are_functorch_transforms_active():
        return False
    # A transform of torch.func hides the tangents of the transforms around it.
    is_wrapped = _functorch.maybe_get_level(x) == _functorch.maybe_current_level()
    outer = _functorch.get_unwrapped(x) if is_wrapped else x
    with temporarily_pop_interpreter_stack():
        return _has_tangent(outer)
