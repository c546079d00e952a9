"""impl="cpu": the vectorised C++ kernels of the extension module."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..ops.arguments import RotaryCosSinSpec, RotaryQKSpec
from ..ops.check import is_plain
from .compiled import extension, reason


def unavailable() -> str | None:
    """Return why the extension module cannot be used, or None."""
    return reason


def excluded_from_auto() -> str | None:
    """Return None: "auto" chooses these kernels for CPU tensors."""
    return None


def unsupported(spec: RotaryQKSpec | RotaryCosSinSpec) -> str | None:
    """Return why the kernels cannot serve a call, or None: they read plain CPU tensors."""
    if spec.q.device.type != "cpu":
        return f"the tensors are on {spec.q.device}"
    if not is_plain(spec):
        return "it takes plain tensors, no subclass of torch.Tensor and no torch.func transform"
    return None


def launch_rotary_qk(spec: RotaryQKSpec) -> None:
    """Run the kernel on at most as many threads as torch would use."""
    extension.rotary_qk(spec, torch.get_num_threads())


def launch_rotary_cos_sin(spec: RotaryCosSinSpec) -> None:
    """Run the same kernel with the caller's cos and sin."""
    extension.rotary_cos_sin(spec, torch.get_num_threads())


def launch_rotary_qk_scaling_grad(
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum over tokens and heads in float64, in an order that threads do not change."""
    of_inv_freq = torch.empty_like(spec.table.inv_freq_bits, dtype=torch.float32)
    of_factors = torch.empty_like(spec.table.attention_factor_bits, dtype=torch.float32)
    call = replace(spec, q_out=grad_q, k_out=grad_k)
    extension.scaling_grad(call, of_inv_freq, of_factors, torch.get_num_threads())
    return of_inv_freq, of_factors
