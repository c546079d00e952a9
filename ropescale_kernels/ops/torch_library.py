"""The operators as torch.library knows them: schemas, kernels, and outputs without data.

They serve whatever watches a call: autograd, torch.compile, torch.export, torch.func, modes and
subclasses. A call that nothing watches goes straight to an implementation (`_call`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ..errors import RopeScaleValueError, expected
from ..table.state import TableState, TableTensors
from . import autograd, vmap
from .check import RotaryCosSinSpec, RotaryQKSpec, check_rotary_cos_sin, check_rotary_qk
from .implementations import empty_like, launch, launch_scaling_grad

_TOKENS = "Tensor position_ids, Tensor? profile_ids"
_TABLE = (
    "Tensor steps, Tensor inv_freq_bits, Tensor factor_bits, Tensor? axis_ids, "
    "Tensor? pos_freqs, Tensor? ramp, Tensor? scales"
)
_FLAGS = "bool interleaved, bool conjugate, bool phase_float32, str impl"
_SCHEMAS = {
    # Where there is no k, the second output is empty. `inv_freq` and `factors` are what `table`
    # holds as bits, for gradients to flow to.
    "rotary_qk": f"(Tensor q, Tensor? k, {_TOKENS}, {_TABLE}, Tensor? inv_freq, Tensor? factors, "
    f"{_FLAGS}) -> (Tensor, Tensor)",
    "rotary_qk_": f"(Tensor(a!) q, Tensor(b!)? k, {_TOKENS}, {_TABLE}, {_FLAGS}) -> ()",
    # Gradients of inv_freq, (num_profiles, rotary_dim / 2), and of factors, (num_profiles, 2).
    "rotary_qk_scaling_grad": f"(Tensor grad_q, Tensor? grad_k, Tensor q, Tensor? k, {_TOKENS}, "
    f"{_TABLE}, {_FLAGS}) -> (Tensor, Tensor)",
    "rotary_cos_sin": "(Tensor q, Tensor? k, Tensor cos, Tensor sin, Tensor? position_ids, "
    "int rotary_dim, bool interleaved, bool conjugate, str impl) -> (Tensor, Tensor)",
}
for _name, _schema in _SCHEMAS.items():
    torch.library.define(f"ropescale::{_name}", _schema, tags=(torch.Tag.pt2_compliant_tag,))


def _plain(x: Tensor | None) -> Any:
    """Give the tensor that a subclass without a dispatch of its own is."""
    if x is None or type(x) is Tensor:
        return x
    return x.as_subclass(Tensor)


def _rows(x: Tensor | None) -> Any:
    """Give memory as the kernels read it: negated, and with rows that are contiguous.

    The public functions refuse other rows; a compiler is free to choose them.
    """
    if x is None:
        return None
    x = _plain(x).resolve_neg()
    return x if x.stride(-1) == 1 else x.contiguous()


def _qk_spec(
    q: Tensor,
    k: Tensor | None,
    position_ids: Tensor,
    profile_ids: Tensor | None,
    *rest: Any,
) -> RotaryQKSpec:
    state = TableTensors(*(_plain(x) for x in rest[:7]))
    interleaved, conjugate, phase_float32 = rest[-4:-1]
    has_axes = state[3] is not None and position_ids.dim() > q.dim() - 2
    table = TableState(state, position_ids.shape[0] if has_axes else 0)
    table.check()
    return check_rotary_qk(
        _rows(q),
        _rows(k),
        _plain(position_ids),
        table,
        _plain(profile_ids),
        interleaved=interleaved,
        conjugate=conjugate,
        phase="float32" if phase_float32 else "exact",
    )


def _as_pair(outputs: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
    q_out, k_out = outputs
    return q_out, q_out.new_empty(0) if k_out is None else k_out


@torch.library.impl("ropescale::rotary_qk", "default")
def _rotary_qk(*arguments: Any) -> tuple[Tensor, Tensor]:
    spec = _qk_spec(*arguments)
    return _as_pair(launch(spec, arguments[-1]))


@torch.library.impl("ropescale::rotary_qk_", "default")
def _rotary_qk_(*arguments: Any) -> None:
    spec = _qk_spec(*arguments)
    written = arguments[:2]
    spec.q_out, spec.k_out = spec.q, spec.k
    launch(spec, arguments[-1])
    for x, result in zip(written, (spec.q, spec.k), strict=True):
        # Other memory was read than is to be written.
        if x is not None and result is not None and result.data_ptr() != x.data_ptr():
            x.copy_(result)


@torch.library.impl("ropescale::rotary_qk_scaling_grad", "default")
def _rotary_qk_scaling_grad(
    grad_q: Tensor, grad_k: Tensor | None, *arguments: Any
) -> tuple[Tensor, Tensor]:
    spec = _qk_spec(*arguments)
    for name, grad, x in (("grad_q", grad_q, spec.q), ("grad_k", grad_k, spec.k)):
        got, want = (None if y is None else (tuple(y.shape), y.dtype) for y in (grad, x))
        if got != want:
            raise RopeScaleValueError(expected(name, f"{want}", f"{got}"))
    return launch_scaling_grad(spec, _rows(grad_q), _rows(grad_k), arguments[-1])


@torch.library.impl("ropescale::rotary_cos_sin", "default")
def _rotary_cos_sin(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None,
    rotary_dim: int,
    interleaved: bool,
    conjugate: bool,
    impl: str,
) -> tuple[Tensor, Tensor]:
    spec = check_rotary_cos_sin(
        _rows(q),
        _rows(k),
        _rows(cos),
        _rows(sin),
        _plain(position_ids),
        rotary_dim=rotary_dim,
        interleaved=interleaved,
        conjugate=conjugate,
    )
    return _as_pair(launch(spec, impl))


def _rotated_without_data(q: Tensor, k: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor]:
    return _as_pair((empty_like(q), None if k is None else empty_like(k)))


def _nothing_without_data(*arguments: Any) -> None:
    return None


def _scaling_grad_without_data(
    grad_q: Tensor, grad_k: Tensor | None, *arguments: Any
) -> tuple[Tensor, Tensor]:
    inv_freq_bits, factor_bits = arguments[5:7]
    of_inv_freq = torch.empty_like(inv_freq_bits, dtype=torch.float32)
    return of_inv_freq, torch.empty_like(factor_bits, dtype=torch.float32)


_FAKES = {
    "rotary_qk": _rotated_without_data,
    "rotary_qk_": _nothing_without_data,
    "rotary_qk_scaling_grad": _scaling_grad_without_data,
    "rotary_cos_sin": _rotated_without_data,
}
_BATCHED = {
    "rotary_qk": vmap.batch_rotary_qk,
    "rotary_qk_": vmap.refuse,
    "rotary_qk_scaling_grad": vmap.refuse,
    "rotary_cos_sin": vmap.batch_rotary_cos_sin,
}
_GRADIENTS = {
    "rotary_qk": (autograd.backward_rotary_qk, autograd.setup_rotary_qk),
    "rotary_qk_scaling_grad": (autograd.refuse_second_order, None),
    "rotary_cos_sin": (autograd.backward_rotary_cos_sin, autograd.setup_rotary_cos_sin),
}
for _name in _SCHEMAS:
    torch.library.register_fake(f"ropescale::{_name}", _FAKES[_name])  # type: ignore[arg-type]
    torch.library.register_vmap(f"ropescale::{_name}", _BATCHED[_name])
for _name, (_backward, _setup) in _GRADIENTS.items():
    torch.library.register_autograd(f"ropescale::{_name}", _backward, setup_context=_setup)  # type: ignore[arg-type]


def rotate(spec: RotaryQKSpec | RotaryCosSinSpec, impl: str) -> tuple[Tensor, Tensor | None]:
    """Call the functional operator of a checked call; its `q_out` and `k_out` are not looked at."""
    if isinstance(spec, RotaryQKSpec):
        q_out, k_out = autograd.rotary_qk(*_operands(spec), *spec.sources, *_flags(spec), impl)
    else:
        q_out, k_out = autograd.rotary_cos_sin(
            spec.q,
            spec.k,
            spec.cos,
            spec.sin,
            spec.position_ids,
            spec.rotary_dim,
            spec.interleaved,
            spec.conjugate,
            impl,
        )
    return q_out, None if spec.k is None else k_out


def rotate_in_place(spec: RotaryQKSpec, impl: str) -> None:
    """Call the operator that writes q and k."""
    torch.ops.ropescale.rotary_qk_(*_operands(spec), *_flags(spec), impl)


def _operands(spec: RotaryQKSpec) -> tuple[Tensor | None, ...]:
    state = spec.table.state
    if isinstance(spec.q, FakeTensor) and not torch.compiler.is_compiling():
        # A table that is not faked yet, as of a model whose activations alone are.
        mode = spec.q.fake_mode
        state = tuple(
            x if x is None or isinstance(x, FakeTensor) else mode.from_tensor(x) for x in state
        )
    return *spec.inputs, *state


def _flags(spec: RotaryQKSpec) -> tuple[bool, bool, bool]:
    return spec.interleaved, spec.conjugate, spec.phase_float32
