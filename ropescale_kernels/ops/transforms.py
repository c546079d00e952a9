"""Whether more than plain autograd watches a call: compilers, modes, torch.func, forward-mode AD.

Straight to the kernels, such a call would compute the value and drop the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad


def in_forward_ad() -> bool:
    """Whether a level of forward-mode AD is entered, so that any tensor may carry a tangent."""
    return forward_ad._current_level >= 0


def is_watched() -> bool:
    """Whether a graph is being made, or a dispatch mode (a tracer, a counter) sees every call."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def is_transformed(*tensors: Tensor | None) -> bool:
    """Whether forward-mode AD is on, or a tensor is a torch.func wrapper (vmap, grad, jvp)."""
    return in_forward_ad() or any(x is not None and is_functorch_wrapped_tensor(x) for x in tensors)
