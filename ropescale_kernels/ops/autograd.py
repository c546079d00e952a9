"""Gradients, and what torch.func sees.

Those of q and k are the same operator with `conjugate` flipped, as a rotation's adjoint is; a
rotation is linear in q and k, so they are differentiable again, to any order. Those of a table's
inv_freq and factors are a reduction of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import RopeScaleUnsupportedError, expected
from . import vmap

Grads = tuple[Tensor | None, ...]
# Positions of inv_freq and factors among the arguments of rotary_qk.
_INV_FREQ, _FACTORS = 11, 12
_ARGUMENTS = 17


def setup_rotary_qk(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep what says by how much; q and k only where the scaling requires grad."""
    q, k, *sources = inputs[: _FACTORS + 1]
    of_scaling = any(x is not None and x.requires_grad for x in sources[-2:])
    ctx.q_shape, ctx.flags = q.shape, inputs[_FACTORS + 1 :]
    ctx.set_materialize_grads(False)
    # Saved, so that autograd sees a table updated, or positions rewritten, before backward.
    ctx.save_for_backward(*sources, *((q, k) if of_scaling else (None, None)))


def backward_rotary_qk(ctx: Any, grad_q: Tensor | None, grad_k: Tensor | None) -> Grads:
    """Rotate the upstream gradients backwards."""
    *sources, q, k = ctx.saved_tensors
    interleaved, conjugate, phase_float32, impl = ctx.flags
    grads: list[Tensor | None] = [None] * _ARGUMENTS
    of_q, of_k = _as_heads(ctx, grad_q, grad_k)
    if of_q is None:
        return tuple(grads)
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
        flags = interleaved, not conjugate, phase_float32, impl
        dq, dk = rotary_qk(of_q, of_k, *sources, *flags)
        if ctx.needs_input_grad[0] and grad_q is not None:
            grads[0] = dq
        if ctx.needs_input_grad[1] and grad_k is not None:
            grads[1] = dk
    if q is not None and (ctx.needs_input_grad[_INV_FREQ] or ctx.needs_input_grad[_FACTORS]):
        if grad_q is None:
            q = of_q
        of_scaling = torch.ops.ropescale.rotary_qk_scaling_grad(
            of_q, of_k, q, None if of_k is None else k, *sources[:-2], *ctx.flags
        )
        for at, grad in zip((_INV_FREQ, _FACTORS), of_scaling, strict=True):
            grads[at] = grad if ctx.needs_input_grad[at] else None
    return tuple(grads)


def setup_rotary_cos_sin(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep the caller's rows."""
    ctx.q_shape, ctx.flags = inputs[0].shape, inputs[5:]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[2:5])


def backward_rotary_cos_sin(ctx: Any, grad_q: Tensor | None, grad_k: Tensor | None) -> Grads:
    """Rotate the upstream gradients backwards."""
    rotary_dim, interleaved, conjugate, impl = ctx.flags
    of_q, of_k = _as_heads(ctx, grad_q, grad_k)
    rest = (None,) * 7
    if of_q is None:
        return None, None, *rest
    dq, dk = rotary_cos_sin(
        of_q, of_k, *ctx.saved_tensors, rotary_dim, interleaved, not conjugate, impl
    )
    return None if grad_q is None else dq, None if grad_k is None or of_k is None else dk, *rest


def refuse_second_order(ctx: Any, *grads: Tensor | None) -> Grads:
    """Say that a gradient of inv_freq or factors has no gradient of its own."""
    raise RopeScaleUnsupportedError(
        expected(
            "table",
            "gradients of inv_freq and attention_factor to be of first order",
            "a second one",
            "Second order is there for q and k.",
        )
    )


def _as_heads(
    ctx: Any, grad_q: Tensor | None, grad_k: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Give gradients as the operators take q and k: a q always."""
    # Where there was no k, its output was an empty tensor.
    if grad_k is not None and grad_k.dim() != len(ctx.q_shape):
        grad_k = None
    if grad_q is None and grad_k is not None:
        # A q without heads costs nothing.
        grad_q = grad_k.new_empty((*ctx.q_shape[:-2], 0, ctx.q_shape[-1]))
    return grad_q, grad_k


def rotary_qk(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Call the operator of that name, in sight of torch.func where it is at work."""
    return _seen(RotaryQK, torch.ops.ropescale.rotary_qk, arguments)


def rotary_cos_sin(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Call the operator of that name, in sight of torch.func where it is at work."""
    return _seen(RotaryCosSin, torch.ops.ropescale.rotary_cos_sin, arguments)


def _seen(function: Any, operator: Any, arguments: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    if torch._C._are_functorch_transforms_active():
        operator = function.apply
    outputs: tuple[Tensor, Tensor] = operator(*arguments)
    return outputs


class RotaryQK(torch.autograd.Function):
    """The operator for torch.func, which sees no gradients that torch.library registers."""

    setup_context = staticmethod(setup_rotary_qk)
    backward = staticmethod(backward_rotary_qk)
    vmap = staticmethod(vmap.batch_rotary_qk)

    @staticmethod
    def forward(*arguments: Any) -> Any:
        """Rotate."""
        return torch.ops.ropescale.rotary_qk(*arguments)


class RotaryCosSin(torch.autograd.Function):
    """The same of `rotary_cos_sin`."""

    setup_context = staticmethod(setup_rotary_cos_sin)
    backward = staticmethod(backward_rotary_cos_sin)
    vmap = staticmethod(vmap.batch_rotary_cos_sin)

    @staticmethod
    def forward(*arguments: Any) -> Any:
        """Rotate."""
        return torch.ops.ropescale.rotary_cos_sin(*arguments)
