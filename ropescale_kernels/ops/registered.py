"""The kernels of this package's operators, registered with torch.library on import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import RopeScaleUnsupportedError, RopeScaleValueError, expected
from .arguments import (
    RotaryCosSinSpec,
    RotaryQKInPlaceSpec,
    RotaryQKScalingGradSpec,
    RotaryQKSpec,
)
from .check import check_rotary_cos_sin, check_rotary_qk
from .implementations import launch, launch_scaling_grad
from .torch_library import call_operator, register

__all__ = ["call_operator"]


def _checked(call: RotaryQKSpec | RotaryQKScalingGradSpec) -> RotaryQKSpec:
    return check_rotary_qk(
        call.q,
        call.k,
        call.position_ids,
        call.table,
        call.profile_ids,
        interleaved=call.interleaved,
        conjugate=call.conjugate,
        phase="float32" if call.phase_float32 else "exact",
        impl=call.impl,
    )


def _rotary_qk(call: RotaryQKSpec) -> tuple[Tensor, Tensor | None]:
    return launch(_checked(call))


def _rotary_qk_in_place(call: RotaryQKInPlaceSpec) -> tuple[()]:
    spec = _checked(call)
    spec.q_out, spec.k_out = spec.q, spec.k
    launch(spec)
    return ()


def _rotary_qk_scaling_grad(call: RotaryQKScalingGradSpec) -> tuple[Tensor, Tensor]:
    spec = _checked(call)
    for name, grad, x in (("grad_q", call.grad_q, spec.q), ("grad_k", call.grad_k, spec.k)):
        got, want = (None if y is None else (tuple(y.shape), y.dtype) for y in (grad, x))
        if got != want:
            raise RopeScaleValueError(expected(name, f"{want}", f"{got}"))
    return launch_scaling_grad(spec, call.grad_q, call.grad_k)


def _rotary_cos_sin(call: RotaryCosSinSpec) -> tuple[Tensor, Tensor | None]:
    return launch(
        check_rotary_cos_sin(
            call.q,
            call.k,
            call.cos,
            call.sin,
            call.position_ids,
            rows=call.order,
            rotary_dim=call.rotary_dim,
            mrope_section=call.mrope_section,
            mrope_interleaved=call.mrope_interleaved,
            interleaved=call.interleaved,
            conjugate=call.conjugate,
            impl=call.impl,
        )
    )


def _refuse_second_order(
    values: dict[str, Any], grads: Sequence[Tensor | None]
) -> dict[str, Tensor | None]:
    """Refuse the gradient of a gradient of inv_freq or of the attention factors."""
    raise RopeScaleUnsupportedError(
        expected(
            "table",
            "gradients of inv_freq and attention_factor to be of first order",
            "a second one",
            "Second order is there for q and k.",
        )
    )


register(RotaryQKSpec, _rotary_qk, leaf_gradients=RotaryQKScalingGradSpec)
register(RotaryQKInPlaceSpec, _rotary_qk_in_place)
register(RotaryQKScalingGradSpec, _rotary_qk_scaling_grad, gradients=_refuse_second_order)
register(RotaryCosSinSpec, _rotary_cos_sin)
