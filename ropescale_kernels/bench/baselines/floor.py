"""What no rotation can beat by much: moving the bytes of q and k once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..cases import Inputs
from ._baseline import Baseline, Call

# Up to so many bytes moved, which a device's L2 cache may hold, a floor on a device is one kernel
# over one buffer: two copies would be two launches, where a rotation of q and k is one.
_ONE_KERNEL = 64 << 20


def _words(inputs: Inputs, q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    """Return q and k as 32-bit integers; where they are small, one buffer of their size.

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


def floor_of(writes: str, names: set[str]) -> str:
    """Name the floor that a call is set against.

    Args:
        writes: Where the call's output goes, as in `Call`.
        names: Floors that were timed. Without a pass in place, calls in place are set against the
            copy.

    Returns:
        A name of those.
    """
    if writes == "fresh":
        return CLONE.name
    return PASS.name if writes == "in place" and PASS.name in names else COPY.name
