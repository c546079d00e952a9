"""impl="cpu": the vectorised C++ kernels of the extension module."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .._check import RotaryCosSinSpec, RotaryQKSpec, is_plain
from ..errors import RopeScaleValueError, expected
from ..table import RotaryTable

_ISAS = ("baseline", "avx2", "avx512")


def _load() -> tuple[Any, str | None]:
    try:
        extension: ModuleType = importlib.import_module("ropescale_kernels._C")
    except ImportError as error:
        return None, f"the extension module does not import ({error})"
    library_dir = os.path.join(os.path.dirname(torch.__file__), "lib")
    extension.use_tensor_type(torch.Tensor)
    extension.use_loaded_openmp(library_dir)
    isa = os.environ.get("ROPESCALE_CPU_ISA")
    if isa:
        if isa not in _ISAS:
            raise RopeScaleValueError(
                expected("ROPESCALE_CPU_ISA", f"one of {', '.join(_ISAS)}", isa)
            )
        extension.use_cpu_isa(isa)
    return extension, None


_extension, _reason = _load()


def unavailable() -> str | None:
    """Say why the extension module cannot be used, or None."""
    return _reason


def passed_over() -> str | None:
    """Give None: it is the one for CPU tensors."""
    return None


def unsupported(spec: RotaryQKSpec | RotaryCosSinSpec) -> str | None:
    """Refuse what has no data on the CPU that a pointer could reach."""
    if spec.q.device.type != "cpu":
        return f"the tensors are on {spec.q.device}"
    if not is_plain(*spec.inputs):
        return "it takes plain tensors, no subclass of torch.Tensor and no torch.func transform"
    return None


def try_rotary_qk(
    q: Any,
    k: Any,
    q_out: Tensor | None,
    k_out: Tensor | None,
    position_ids: Any,
    table: RotaryTable,
    interleaved: Any,
    conjugate: Any,
    phase: str,
) -> bool:
    """Run a plainly valid call without wording or building anything; in place if q_out is None.

    Returns:
        Whether it ran. If not, nothing was done and the checked path must look at the call.
    """
    if _extension is None or (phase != "exact" and phase != "float32"):
        return False
    ran: bool = _extension.try_rotary_qk(
        q,
        k,
        q_out,
        k_out,
        position_ids,
        table.state,
        interleaved,
        conjugate,
        phase == "float32",
        torch.get_num_threads(),
    )
    return ran


def launch_rotary_qk(spec: RotaryQKSpec) -> None:
    """Run the kernel on at most as many threads as torch would use."""
    _extension.rotary_qk(
        spec.q,
        spec.k,
        spec.q_out,
        spec.k_out,
        spec.position_ids,
        spec.profile_ids,
        spec.table.state,
        spec.interleaved,
        spec.conjugate,
        spec.phase_float32,
        torch.get_num_threads(),
    )


def launch_rotary_qk_scaling_grad(
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum over tokens and heads in float64, in an order that threads do not change."""
    of_inv_freq = torch.empty_like(spec.table.inv_freq_bits, dtype=torch.float32)
    of_factors = torch.empty_like(spec.table.factor_bits, dtype=torch.float32)
    _extension.scaling_grad(
        spec.q,
        spec.k,
        grad_q,
        grad_k,
        spec.position_ids,
        spec.profile_ids,
        spec.table.state,
        spec.interleaved,
        spec.conjugate,
        spec.phase_float32,
        of_inv_freq,
        of_factors,
        torch.get_num_threads(),
    )
    return of_inv_freq, of_factors


def launch_rotary_cos_sin(spec: RotaryCosSinSpec) -> None:
    """Run the same kernel with the caller's cos and sin."""
    _extension.rotary_cos_sin(
        spec.q,
        spec.k,
        spec.q_out,
        spec.k_out,
        spec.cos,
        spec.sin,
        spec.position_ids,
        spec.rotary_dim,
        spec.interleaved,
        spec.conjugate,
        torch.get_num_threads(),
    )
