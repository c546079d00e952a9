"""What no rotation can beat by much: moving the bytes of q and k once."""

from __future__ import annotations

import torch

from ..cases import Inputs
from ._baseline import Baseline, Call


def _prepare_copy(inputs: Inputs) -> Call:
    q, k = inputs.q, inputs.k
    q_copy, k_copy = torch.empty_like(q), torch.empty_like(k)
    return Call(lambda: (q_copy.copy_(q), k_copy.copy_(k)), None, in_place=True)


def _prepare_clone(inputs: Inputs) -> Call:
    return Call(lambda: (inputs.q.clone(), inputs.k.clone()), None)


COPY = Baseline("copy", _prepare_copy)
CLONE = Baseline("clone", _prepare_clone)
