"""Compilers, dispatch modes, torch.func and forward-mode AD: is any of them at work in a call?

A call that went straight to the kernels would compute the values and drop everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad


def in_forward_ad() -> bool:
    """Return whether a level of forward-mode AD is entered; any tensor may then carry a tangent."""
    return forward_ad._current_level >= 0


def in_trace_or_mode() -> bool:
    """Return whether a graph is being made, or a dispatch mode (a tracer, a counter) is entered."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def is_transformed(*tensors: Tensor | None) -> bool:
    """Return whether forward-mode AD is on, or a tensor is a wrapper of torch.func."""
    return in_forward_ad() or any(x is not None and is_functorch_wrapped_tensor(x) for x in tensors)
