"""The table of implementations, and the choice of one for a call."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Protocol

import torch
from torch import Tensor

from ._check import RotaryCosSinSpec, RotaryQKSpec
from .errors import (
    RopeScaleUnsupportedError,
    RopeScaleValueError,
    RopeScaleWarning,
    expected,
)

Spec = RotaryQKSpec | RotaryCosSinSpec


class Backend(Protocol):
    """What a module of `backends/` provides. Reasons are worded to follow `<impl>: `."""

    def unavailable(self) -> str | None:
        """Say why this implementation cannot run here at all, or None."""

    def passed_over(self) -> str | None:
        """Say why "auto" leaves it to those who name it, or None."""

    def unsupported(self, spec: Spec) -> str | None:
        """Say why it cannot serve this call, or None."""

    def launch_rotary_qk(self, spec: RotaryQKSpec) -> None:
        """Fill spec.q_out and spec.k_out."""

    def launch_rotary_cos_sin(self, spec: RotaryCosSinSpec) -> None:
        """Fill spec.q_out and spec.k_out."""

    def launch_rotary_qk_scaling_grad(
        self, spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Give the gradients of inv_freq and of factors, float32, of a table of one profile."""


# In the order that "auto" tries them; an implementation that this version does not have is a
# reason instead of a module.
_MODULES = {
    "cuda": (None, "this version has no CUDA kernels"),
    "triton": (".backends.triton", None),
    "cpu": (".backends.cpu", None),
    "torch": (".backends.torch_ops", None),
    "reference": (".backends.bits", None),
}
_AUTO = ("cuda", "triton", "cpu", "torch")
_loaded: dict[str, Backend] = {}


def load_backend(name: str) -> Backend:
    """Import the module of an implementation on first use."""
    backend = _loaded.get(name)
    if backend is None:
        module = _MODULES[name][0]
        assert module is not None, name
        backend = _loaded[name] = importlib.import_module(module, __package__)
    return backend


def available_impls() -> dict[str, str | None]:
    """Say which implementations can run here.

    Returns:
        For each name that `impl` takes, None, or the reason it cannot run.
    """
    return {
        name: absent if module is None else load_backend(name).unavailable()
        for name, (module, absent) in _MODULES.items()
    }


def choose_impl(spec: Spec, impl: str) -> Backend:
    """Give the implementation named by `impl`, or for "auto" the first that supports the call.

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
    if impl not in _MODULES:
        choices = ", ".join(["auto", *_MODULES])
        raise RopeScaleValueError(expected(argument, f"one of {choices}", impl))
    reason = _reason_against(impl, spec)
    if reason is not None:
        raise RopeScaleUnsupportedError(
            expected(argument, "an implementation that can run", f"{impl!r}: {reason}")
        )
    return load_backend(impl)


def _reason_against(name: str, spec: Spec) -> str | None:
    module, absent = _MODULES[name]
    if module is None:
        return absent
    backend = load_backend(name)
    return backend.unavailable() or backend.unsupported(spec)


def _choose_auto(spec: Spec) -> Backend:
    reasons: dict[str, str] = {}
    for name in _AUTO:
        reason = _reason_against(name, spec) or load_backend(name).passed_over()
        if reason is None:
            if name == "torch":
                _warn_of_torch(reasons)
            return load_backend(name)
        reasons[name] = reason
    words = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise RopeScaleUnsupportedError(
        expected("q", "a tensor that an implementation can serve", f"{spec.q.device} ({words})")
    )


def launch(spec: Spec, impl: str) -> tuple[Tensor, Tensor | None]:
    """Allocate the outputs a call lacks and run it, unseen by autograd.

    Empty tensors launch nothing; meta tensors give outputs without data.
    """
    backend = None if spec.q.is_meta else choose_impl(spec, impl)
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
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None, impl: str
) -> tuple[Tensor, Tensor]:
    """Give the gradients of a table's inv_freq and factors; the same bits in every run.

    Args:
        spec: The call that was made; its outputs are not looked at.
        grad_q: Like spec.q.
        grad_k: Like spec.k.
        impl: Name of the implementation.

    Returns:
        float32 `(1, rotary_dim / 2)` and `(1, 2)`.
    """
    assert spec.table.num_profiles == 1, "only RotaryTable.from_inv_freq has sources"
    if spec.q.is_meta or not (grad_q.numel() or (grad_k is not None and grad_k.numel())):
        of_inv_freq = torch.zeros_like(spec.table.inv_freq_bits, dtype=torch.float32)
        return of_inv_freq, torch.zeros_like(spec.table.factor_bits, dtype=torch.float32)
    return choose_impl(spec, impl).launch_rotary_qk_scaling_grad(spec, grad_q, grad_k)


def empty_like(x: Tensor) -> Tensor:
    """Keep the order of x's strides; an expanded axis may not end up innermost."""
    out = torch.empty_like(x)
    if out.stride(-1) != 1:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
    return out


_warned_of_torch = False


def _warn_of_torch(reasons: dict[str, str]) -> None:
    global _warned_of_torch
    if _warned_of_torch:
        return
    _warned_of_torch = True
    words = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    warnings.warn(
        f"impl: expected a compiled kernel, got torch operations, which are slower and not "
        f"bit-equal to the kernels ({words})",
        RopeScaleWarning,
        stacklevel=5,
    )
