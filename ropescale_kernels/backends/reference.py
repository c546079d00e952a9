"""impl="reference": the definition of the bits, in pure Python. Slow."""

from __future__ import annotations

from torch import Tensor

from .. import reference
from ..ops.arguments import RotaryCosSinSpec, RotaryQKSpec
from ..ops.check import is_plain
from . import torch_ops


def unavailable() -> str | None:
    """Return None, because pure Python runs everywhere."""
    return None


def excluded_from_auto() -> str | None:
    """Return a reason, because the definition is slow."""
    return "it is the definition, and slow"


def unsupported(spec: RotaryQKSpec | RotaryCosSinSpec) -> str | None:
    """Return why a call cannot be served, or None: Python must be able to read the values."""
    if not is_plain(spec) or spec.q.is_meta:
        return "it takes plain tensors with values"
    return None


def _deliver(spec: RotaryQKSpec | RotaryCosSinSpec, rotated: tuple[object, object | None]) -> None:
    for out, value in zip((spec.q_out, spec.k_out), rotated, strict=True):
        if out is not None:
            out.copy_(value)  # type: ignore[arg-type]


def launch_rotary_qk(spec: RotaryQKSpec) -> None:
    """Compute every element by the definition."""
    _deliver(
        spec,
        reference.apply_rotary_qk(
            spec.q,
            spec.k,
            spec.position_ids,
            spec.table,
            profile_ids=spec.profile_ids,
            interleaved=spec.interleaved,
            conjugate=spec.conjugate,
            phase="float32" if spec.phase_float32 else "exact",
            precision="bits",
        ),
    )


def launch_rotary_cos_sin(spec: RotaryCosSinSpec) -> None:
    """Compute every element by the definition."""
    _deliver(
        spec,
        reference.apply_rotary_cos_sin(
            spec.q,
            spec.k,
            spec.cos,
            spec.sin,
            spec.position_ids,
            rows=spec.order,
            rotary_dim=spec.rotary_dim,
            axis_ids=spec.axis_ids,
            interleaved=spec.interleaved,
            conjugate=spec.conjugate,
            precision="bits",
        ),
    )


def launch_rotary_qk_scaling_grad(
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum in float64; only the forward defines bits."""
    return torch_ops.launch_rotary_qk_scaling_grad(spec, grad_q, grad_k)
