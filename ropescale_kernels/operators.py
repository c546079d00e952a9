"""Register the operators `torch.ops.ropescale.*`.

The functions of this package register them when a call needs them. A process that only loads an
exported program must import this module first, because the program names the operators:

    import ropescale_kernels.operators
    program = torch.export.load("model.pt2")

`rotary_qk(q, k, position_ids, profile_ids, *table.state, inv_freq, factors, interleaved, conjugate,
phase_float32, impl)` returns two tensors; the second is empty if k is None. `rotary_qk_` writes q
and k. `rotary_cos_sin` takes rows of cos and sin. `rotary_qk_scaling_grad` is the backward of
`inv_freq` and `factors`. Arguments are checked as in the public functions.
"""

# These imports register the operators, and the table as a pytree.
from .ops import torch_library  # noqa: F401
from .table import rotary_table  # noqa: F401

__all__: list[str] = []
