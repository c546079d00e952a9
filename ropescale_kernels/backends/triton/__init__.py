"""impl="triton": kernels that Triton compiles for a device, or interprets on a CPU."""

from __future__ import annotations

import importlib.util
import os
from functools import cache

import torch
from torch import Tensor

from ...ops.arguments import RotaryCosSinSpec, RotaryQKSpec
from ...ops.check import is_plain


@cache
def unavailable() -> str | None:
    """Return why Triton kernels cannot run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if not _interpreted() and not torch.cuda.is_available():
        return "torch finds no device (TRITON_INTERPRET=1 interprets the kernels, slowly)"
    return None


def excluded_from_auto() -> str | None:
    """Return why "auto" never chooses this implementation, or None."""
    return "Triton interprets its kernels here" if _interpreted() else None


def unsupported(spec: RotaryQKSpec | RotaryCosSinSpec) -> str | None:
    """Return why the kernels cannot serve a call, or None: they read plain tensors of a device."""
    wanted = "cpu" if _interpreted() else "cuda"
    if spec.q.device.type != wanted:
        return f"the tensors are on {spec.q.device}"
    return None if is_plain(spec) else "it takes plain tensors"


def launch_rotary_qk(spec: RotaryQKSpec) -> None:
    """Run the kernel on the current stream of the tensors' device."""
    from .rotary_qk import launch_rotary_qk as launch

    launch(spec)


def launch_rotary_cos_sin(spec: RotaryCosSinSpec) -> None:
    """Run the kernel that takes cos and sin of the caller, on the current stream."""
    from .rotary_cos_sin import launch_rotary_cos_sin as launch

    launch(spec)


def launch_rotary_qk_scaling_grad(
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of inv_freq and of the attention factors, summed in a fixed order."""
    from .scaling_grad import launch_rotary_qk_scaling_grad as launch

    return launch(spec, grad_q, grad_k)


def warmup(spec: RotaryQKSpec) -> int:
    """Compile every variant that calls like this one can need."""
    from .warmup import warmup as compile_all

    return compile_all(spec)


@cache
def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")
