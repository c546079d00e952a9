"""The table of implementations, and the choice of one for a call."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Protocol

import torch
from torch import Tensor

from ..errors import RopeScaleUnsupportedError, RopeScaleValueError, RopeScaleWarning, expected
from ..names import AUTO_IMPLS, IMPLS, MODULES_OF_IMPLS
from .arguments import RotaryCosSinSpec, RotaryQKSpec, Spec


class Backend(Protocol):
    """The functions of a module of `backends/`. Reasons are worded to follow `<impl>: `."""

    def unavailable(self) -> str | None:
        """Return why this implementation cannot run here at all, or None."""

    def excluded_from_auto(self) -> str | None:
        """Return why "auto" never chooses this implementation, or None."""

    def unsupported(self, spec: Spec) -> str | None:
        """Return why this implementation cannot serve the call, or None."""

    def launch_rotary_qk(self, spec: RotaryQKSpec) -> None:
        """Fill spec.q_out and spec.k_out."""

    def launch_rotary_cos_sin(self, spec: RotaryCosSinSpec) -> None:
        """Fill spec.q_out and spec.k_out."""

    def launch_rotary_qk_scaling_grad(
        self, spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the float32 gradients of inv_freq and attention factors, for one profile."""


_loaded: dict[str, Backend] = {}


def load_backend(name: str) -> Backend:
    """Import the module of an implementation on first use."""
    backend = _loaded.get(name)
    if backend is None:
        backend = _loaded[name] = importlib.import_module(
            f"...backends.{MODULES_OF_IMPLS[name]}", __name__
        )
    return backend


def available_impls() -> dict[str, str | None]:
    """Return which implementations can run here.

    Returns:
        For each name that `impl` takes, None, or the reason it cannot run.
    """
    return {name: load_backend(name).unavailable() for name in IMPLS}


def choose_impl(spec: Spec, impl: str) -> Backend:
    """Return the implementation named by `impl`, or for "auto" the first that supports the call.

    Raises:
        RopeScaleValueError: An unknown name, in `impl` or in the variable ROPESCALE_IMPL.
        RopeScaleUnsupportedError: The named implementation, or every one, cannot serve the call.
    """
    argument = "impl"
    if impl == "auto":
        impl = os.environ.get("ROPESCALE_IMPL") or "auto"
        argument = "ROPESCALE_IMPL"
    if impl == "auto":
        return _choose_auto(spec)
    if impl not in IMPLS:
        choices = ", ".join(["auto", *IMPLS])
        raise RopeScaleValueError(expected(argument, f"one of {choices}", impl))
    backend = load_backend(impl)
    reason = backend.unavailable() or backend.unsupported(spec)
    if reason is not None:
        raise RopeScaleUnsupportedError(
            expected(argument, "an implementation that can run", f"{impl!r}: {reason}")
        )
    return backend


def _choose_auto(spec: Spec) -> Backend:
    reasons: dict[str, str] = {}
    for name in AUTO_IMPLS:
        backend = load_backend(name)
        # The tensors' device is asked first, so that a call on the CPU does not wake a driver.
        reason = backend.unsupported(spec) or backend.unavailable() or backend.excluded_from_auto()
        if reason is None:
            _warn_of_a_substitute(name, reasons)
            return backend
        reasons[name] = reason
    words = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise RopeScaleUnsupportedError(
        expected("q", "a tensor that an implementation can serve", f"{spec.q.device} ({words})")
    )


def launch(spec: Spec) -> tuple[Tensor, Tensor | None]:
    """Allocate the outputs that a call lacks, and run it without autograd.

    Empty tensors launch nothing; meta tensors give outputs without data.
    """
    backend = None if spec.q.is_meta else choose_impl(spec, spec.impl)
    if spec.q_out is None:
        spec.q_out = empty_like(spec.q)
        spec.k_out = None if spec.k is None else empty_like(spec.k)
    if backend is not None and (spec.q.numel() or (spec.k is not None and spec.k.numel())):
        if isinstance(spec, RotaryQKSpec):
            backend.launch_rotary_qk(spec)
        else:
            backend.launch_rotary_cos_sin(spec)
    return spec.q_out, spec.k_out


def launch_scaling_grad(
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of a table's inv_freq and attention factors, the same bits in every run.

    Args:
        spec: The call that was made; its outputs are not read.
        grad_q: Like spec.q.
        grad_k: Like spec.k.

    Returns:
        float32 `(1, rotary_dim / 2)` and `(1, 2)`.
    """
    assert spec.table.num_profiles == 1, "only RotaryTable.from_inv_freq has leaves"
    if spec.q.is_meta or not (grad_q.numel() or (grad_k is not None and grad_k.numel())):
        of_inv_freq = torch.zeros_like(spec.table.inv_freq_bits, dtype=torch.float32)
        return of_inv_freq, torch.zeros_like(spec.table.attention_factor_bits, dtype=torch.float32)
    return choose_impl(spec, spec.impl).launch_rotary_qk_scaling_grad(spec, grad_q, grad_k)


def empty_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor with the order of x's strides; channels stay innermost if x is expanded."""
    out = torch.empty_like(x, dtype=dtype)
    if out.stride(-1) != 1:
        out = torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)
    return out


# Implementations that replace the kernels a device should have, and their cost.
_SUBSTITUTES = {
    "triton": "expected the CUDA kernels, got Triton's: the same bits, and more time to launch",
    "torch": "expected a compiled kernel, got torch operations, which are slower and not "
    "bit-equal to the kernels",
}
_warned_of: set[str] = set()


def _warn_of_a_substitute(name: str, reasons: dict[str, str]) -> None:
    if name not in _SUBSTITUTES or name in _warned_of:
        return
    _warned_of.add(name)
    words = "; ".join(f"{each}: {reason}" for each, reason in reasons.items())
    hint = ". `ropescale doctor` says more, impl= chooses without a warning"
    warnings.warn(f"impl: {_SUBSTITUTES[name]} ({words}){hint}", RopeScaleWarning, stacklevel=5)
