"""A checked call: straight to an implementation, or through the dispatcher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.compiler import is_compiling

from ..errors import RopeScaleUnsupportedError, expected
from .arguments import RotaryQKInPlaceSpec, RotaryQKSpec, Spec
from .check import is_plain
from .implementations import launch
from .kinds import Call
from .transforms import in_forward_ad, in_trace_or_mode, must_be_copied


def rotate(spec: Spec) -> tuple[Tensor, Tensor | None]:
    """Run a checked call, allocating the outputs it lacks.

    Returns:
        q_out, and k_out or None.
    """
    if _is_negated(spec):
        # The kernels read memory, which a lazy negation has not changed yet.
        spec.q = spec.q.resolve_neg()
        spec.k = None if spec.k is None else spec.k.resolve_neg()
    if not _needs_dispatcher(spec):
        return _launch(spec, type(spec))
    from . import registered

    q_out, k_out = registered.call_operator(type(spec), spec)
    assert q_out is not None
    if spec.q_out is None:
        return q_out, k_out
    spec.q_out.copy_(q_out)
    if spec.k_out is not None and k_out is not None:
        spec.k_out.copy_(k_out)
    return spec.q_out, spec.k_out


def rotate_in_place(spec: RotaryQKSpec) -> bool:
    """Run a checked call whose outputs are its inputs.

    Returns:
        Whether the caller must tell autograd of the write.
    """
    q, k = spec.q, spec.k
    if _requires_grad(spec) or must_be_copied(q) or (k is not None and must_be_copied(k)):
        # Autograd and some tracers see a write only as a copy, and so does a lazy negation.
        spec.q_out = spec.k_out = None
        q_out, k_out = rotate(spec)
        q.copy_(q_out)
        if k is not None and k_out is not None:
            k.copy_(k_out)
        return False
    if not _needs_dispatcher(spec):
        _launch(spec, RotaryQKInPlaceSpec)
        return True
    from . import registered

    registered.call_operator(RotaryQKInPlaceSpec, spec)
    return False


def _launch(spec: Spec, kind: type[Call]) -> tuple[Tensor, Tensor | None]:
    """Run a call without the dispatcher, and show it to a profiler under the operator's name."""
    if not torch.autograd.profiler._is_profiler_enabled:
        return launch(spec)
    with torch._C._profiler._RecordFunctionFast(f"{kind.NAMESPACE}::{kind.NAME}"):
        return launch(spec)


def _needs_dispatcher(spec: Spec) -> bool:
    """Return whether more than the tensors' memory takes part in the call."""
    if in_forward_ad() and not is_compiling():
        # The operators carry no tangents; torch's own operations do, which modes see too.
        _refuse_leaves(spec)
        return False
    return in_trace_or_mode() or _requires_grad(spec) or not is_plain(spec)


def _refuse_leaves(spec: Spec) -> None:
    """Refuse a table with leaves under forward-mode AD, where their gradients would be lost."""
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in _leaves(spec)):
        want = "a table without leaves that require grad, under forward-mode AD"
        hint = "Build it from inv_freq.detach(), or call under torch.no_grad()."
        raise RopeScaleUnsupportedError(expected("table", want, "one with leaves", hint))


def _is_negated(spec: Spec) -> bool:
    # In a graph, the operator resolves a negation.
    if torch.compiler.is_compiling():
        return False
    return spec.q.is_neg() or (spec.k is not None and spec.k.is_neg())


def _requires_grad(spec: Spec) -> bool:
    if not torch.is_grad_enabled():
        return False
    return any(x is not None and x.requires_grad for x in (spec.q, spec.k, *_leaves(spec)))


def _leaves(spec: Spec) -> tuple[Tensor | None, ...]:
    return tuple(spec.table.sources) if isinstance(spec, RotaryQKSpec) else ()


def bump_versions(*written: Tensor | None) -> None:
    """Tell autograd of writes through raw pointers, so that it refuses stale saved tensors."""
    if is_compiling():
        return
    for x in written:
        if x is not None and not x.is_inference():
            torch.autograd.graph.increment_version(x)
