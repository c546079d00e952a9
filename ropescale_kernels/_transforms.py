"""Whether more than plain autograd watches a call: torch.func transforms, or forward-mode AD.

The kernels would compute the value and drop the rest, so such a call goes through torch operations.
"""

from __future__ import annotations

from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad


def in_forward_ad() -> bool:
    """Whether a level of forward-mode AD is entered, so that any tensor may carry a tangent."""
    return forward_ad._current_level >= 0


def is_transformed(*tensors: Tensor | None) -> bool:
    """Whether forward-mode AD is on, or a tensor is a torch.func wrapper (vmap, grad, jvp)."""
    return in_forward_ad() or any(x is not None and is_functorch_wrapped_tensor(x) for x in tensors)
