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
    extension.use_python(
        RotaryTable,
        torch.empty_like,
        torch._C._increment_version,
        torch._C._len_torch_dispatch_stack,
        torch.autograd.forward_ad,
        torch.get_num_threads,
    )
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
    if not is_plain(spec):
        return "it takes plain tensors, no subclass of torch.Tensor and no torch.func transform"
    return None


def _leave_it(*arguments: Any) -> None:
    """Serve no call, where there is no extension."""
    return


# fast_rotary_qk(q, k, position_ids, table, interleaved, conjugate, phase, out): the whole of an
# ordinary call in one function of C. `out` is None, a pair of buffers, or True to rotate in place.
# Gives the outputs (True in place); or None, having done nothing, where the checked path must look.
fast_rotary_qk = _leave_it if _extension is None else _extension.fast_rotary_qk


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
