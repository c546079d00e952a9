"""Copy bounds: calls that move the bytes of q and k once. No rotation beats them by much."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..cases import Inputs
from ._baseline import Baseline, Call

# A copy bound of at most so many bytes, which the L2 cache of a device may hold, is one kernel over
# one buffer. Two copies would be two launches, and a rotation of q and k is one.
_ONE_KERNEL = 64 << 20


def _words(inputs: Inputs, q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    """Return q and k as 32-bit integers; one buffer of their size if they are small.

    Inverting the bits of integers moves the bytes of a copy, in one of torch's own kernels.
    """
    if inputs.case.bytes <= _ONE_KERNEL:
        return (torch.cat((q.flatten(), k.flatten())).view(torch.int32),)
    return q.view(torch.int32), k.view(torch.int32)


def _prepare_copy(inputs: Inputs) -> Call:
    def bind(q: Tensor, k: Tensor) -> Callable[[], object]:
        if q.is_cuda and inputs.case.bytes <= _ONE_KERNEL:
            (both,) = _words(inputs, q, k)
            out = torch.empty_like(both)
            return lambda: torch.bitwise_not(both, out=out)
        q_copy, k_copy = torch.empty_like(q), torch.empty_like(k)
        return lambda: (q_copy.copy_(q), k_copy.copy_(k))

    return Call(inputs, bind, None, writes="given")


def _prepare_clone(inputs: Inputs) -> Call:
    def bind(q: Tensor, k: Tensor) -> Callable[[], object]:
        if q.is_cuda and inputs.case.bytes <= _ONE_KERNEL:
            (both,) = _words(inputs, q, k)
            return lambda: torch.bitwise_not(both)
        return lambda: (q.clone(), k.clone())

    return Call(inputs, bind, None)


def _prepare_pass(inputs: Inputs) -> Call:
    def bind(q: Tensor, k: Tensor) -> Callable[[], object]:
        parts = _words(inputs, q, k)
        return lambda: [part.bitwise_not_() for part in parts]

    return Call(inputs, bind, None, writes="in place")


COPY = Baseline("copy", _prepare_copy)
CLONE = Baseline("clone", _prepare_clone)
PASS = Baseline("pass in place", _prepare_pass)


def copy_bound_of(writes: str, names: set[str]) -> str:
    """Return the name of the copy bound that the time of a call is divided by.

    Args:
        writes: Place of the call's output, as in `Call`.
        names: Copy bounds that were timed. Without a pass in place, the bound of calls in place is
            the copy.
    """
    if writes == "fresh":
        return CLONE.name
    return PASS.name if writes == "in place" and PASS.name in names else COPY.name
