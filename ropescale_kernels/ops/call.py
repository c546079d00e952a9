"""The way of a checked call: straight to an implementation, or through the operators."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.compiler import is_compiling

from .check import RotaryQKSpec, is_plain
from .implementations import Spec, launch
from .transforms import in_forward_ad, is_watched


def rotate(spec: Spec, impl: str) -> tuple[Tensor, Tensor | None]:
    """Run a checked call, allocating the outputs it lacks.

    Args:
        spec: The call, from `_check`.
        impl: Name of the implementation.

    Returns:
        q_out, and k_out or None.
    """
    if _is_negated(spec):
        # The kernels read memory, where a lazy negation has not happened yet.
        spec.q = spec.q.resolve_neg()
        spec.k = None if spec.k is None else spec.k.resolve_neg()
    if not _is_watched(spec):
        return launch(spec, impl)
    from . import torch_library

    q_out, k_out = torch_library.rotate(spec, impl)
    if spec.q_out is None:
        return q_out, k_out
    spec.q_out.copy_(q_out)
    if spec.k_out is not None and k_out is not None:
        spec.k_out.copy_(k_out)
    return spec.q_out, spec.k_out


def rotate_in_place(spec: RotaryQKSpec, impl: str) -> bool:
    """Run a checked call whose outputs are its inputs.

    Returns:
        Whether autograd has yet to be told of the write.
    """
    q, k = spec.q, spec.k
    if _requires_grad(spec) or _is_negated(spec):
        # Through a copy: autograd, and the lazy negation, see the write only this way.
        spec.q_out = spec.k_out = None
        q_out, k_out = rotate(spec, impl)
        q.copy_(q_out)
        if k is not None and k_out is not None:
            k.copy_(k_out)
        return False
    if not _is_watched(spec):
        launch(spec, impl)
        return True
    from . import torch_library

    torch_library.rotate_in_place(spec, impl)
    return False


def _is_watched(spec: Spec) -> bool:
    """Whether more than the tensors' memory takes part: then the dispatcher must see the call."""
    if is_watched():
        return True
    if in_forward_ad():
        # The operators carry no tangents; torch's own operations do.
        return False
    return _requires_grad(spec) or not is_plain(spec)


def _is_negated(spec: Spec) -> bool:
    # In a graph, the operator sees to it.
    if torch.compiler.is_compiling():
        return False
    return spec.q.is_neg() or (spec.k is not None and spec.k.is_neg())


def _requires_grad(spec: Spec) -> bool:
    if not torch.is_grad_enabled():
        return False
    sources = spec.sources if isinstance(spec, RotaryQKSpec) else ()
    return any(x is not None and x.requires_grad for x in (spec.q, spec.k, *sources))


def bump_versions(*written: Tensor | None) -> None:
    """Let autograd know of writes through raw pointers, so that it refuses stale saved tensors."""
    if is_compiling():
        return
    for x in written:
        if x is not None and not x.is_inference():
            torch.autograd.graph.increment_version(x)
