"""Gradients of q and k: the same kernel with `conjugate` flipped, as a rotation's adjoint is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ._check import RotaryCosSinSpec, RotaryQKSpec
from ._dispatch import Spec, choose_impl
from ._transforms import is_transformed


def rotate(spec: Spec, impl: str) -> tuple[Tensor, Tensor | None]:
    """Run a checked call, allocating the outputs it lacks; differentiable where q or k is.

    Args:
        spec: The call, from `_check`.
        impl: Name of the implementation.

    Returns:
        q_out, and k_out or None.
    """
    # The kernels read memory, where a lazy negation has not happened yet.
    spec.q = spec.q.resolve_neg()
    spec.k = None if spec.k is None else spec.k.resolve_neg()
    needs_grad = spec.q.requires_grad or (spec.k is not None and spec.k.requires_grad)
    if torch.is_grad_enabled() and needs_grad and not is_transformed(spec.q, spec.k):
        rotated: tuple[Tensor, Tensor | None] = Rotary.apply(spec.q, spec.k, spec, impl)  # type: ignore[no-untyped-call]
        return rotated
    return launch(spec, impl)


def launch(spec: Spec, impl: str) -> tuple[Tensor, Tensor | None]:
    """Allocate the outputs a call lacks and run it, unseen by autograd.

    Empty tensors launch nothing; tensors without data (meta, fake) give outputs without data.
    """
    backend = None if _has_no_data(spec.q) else choose_impl(spec, impl)
    if spec.q_out is None:
        spec.q_out = _empty_like(spec.q)
        spec.k_out = None if spec.k is None else _empty_like(spec.k)
    if backend is not None and (spec.q.numel() or (spec.k is not None and spec.k.numel())):
        if isinstance(spec, RotaryQKSpec):
            backend.launch_rotary_qk(spec)
        else:
            backend.launch_rotary_cos_sin(spec)
    return spec.q_out, spec.k_out


def _has_no_data(x: Tensor) -> bool:
    if x.is_meta:
        return True
    if type(x) is Tensor:
        return False
    from torch._subclasses.fake_tensor import FakeTensor

    return isinstance(x, FakeTensor)


def _empty_like(x: Tensor) -> Tensor:
    """Keep the order of x's strides; an expanded axis may not end up innermost."""
    out = torch.empty_like(x)
    return (
        out if out.stride(-1) == 1 else torch.empty_like(x, memory_format=torch.contiguous_format)
    )


class Rotary(torch.autograd.Function):
    """Both operators as one differentiable function of q and k."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor | None, spec: Spec, impl: str) -> Any:
        """Rotate, keeping only what says by how much."""
        ctx.spec = replace(spec, q=q.new_empty(0), k=None)
        ctx.impl = impl
        ctx.q_shape = q.shape
        # Saved so that autograd sees a table updated, or positions rewritten, before backward.
        ctx.save_for_backward(*_sources(spec))
        ctx.set_materialize_grads(False)
        return launch(replace(spec, q=q, k=k), impl)

    @staticmethod
    def backward(ctx: Any, grad_q: Tensor | None, grad_k: Tensor | None) -> Any:
        """Rotate the upstream gradients backwards; differentiable again, being linear."""
        _ = ctx.saved_tensors
        q_shape = ctx.q_shape
        if not ctx.needs_input_grad[0]:
            grad_q = None
        if not ctx.needs_input_grad[1]:
            grad_k = None
        if grad_q is None:
            if grad_k is None:
                return None, None, None, None
            # The operators want a q: one without heads costs nothing.
            grad_q = grad_k.new_empty((*q_shape[:-2], 0, q_shape[-1]))
        spec = replace(
            ctx.spec,
            q=_unit_stride(grad_q),
            k=None if grad_k is None else _unit_stride(grad_k),
            conjugate=not ctx.spec.conjugate,
            q_out=None,
            k_out=None,
        )
        dq, dk = rotate(spec, ctx.impl)
        return (dq if ctx.needs_input_grad[0] and dq.shape == q_shape else None), dk, None, None


def _unit_stride(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _sources(spec: Spec) -> list[Tensor]:
    sources: tuple[Tensor | None, ...]
    if isinstance(spec, RotaryCosSinSpec):
        sources = (spec.cos, spec.sin, spec.position_ids)
    else:
        sources = (spec.position_ids, spec.profile_ids, *spec.table.state)
    return [x for x in sources if x is not None]
