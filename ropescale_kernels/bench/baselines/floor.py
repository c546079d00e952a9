"""What no rotation can beat by much: moving the bytes of q and k once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..cases import Inputs
from ._baseline import Baseline, Call

# Up to here a floor on a device is one kernel over one buffer: two copies would be two launches,
# where a rotation of q and k is one.
_ONE_KERNEL = 1 << 20
_WORDS = {2: torch.int16, 4: torch.int32}


def _words(inputs: Inputs, q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    """Give what a floor moves: q and k as integers; one buffer of their size where that is small.

    The bits of integers are inverted, which moves the bytes of a copy in a kernel of torch's.
    """
    words = _WORDS[q.element_size()]
    if inputs.case.bytes <= _ONE_KERNEL:
        return (torch.cat((q.flatten(), k.flatten())).view(words),)
    return q.view(words), k.view(words)


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
