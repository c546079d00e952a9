"""Registers the operators `torch.ops.ropescale.*` when it is imported.

The functions of this package do so by themselves where they need them. A process that only loads an
exported program has to import this first, as it does of any operator:

    import ropescale_kernels.operators
    program = torch.export.load("model.pt2")

`rotary_qk(q, k, position_ids, profile_ids, *table.state, inv_freq, factors, interleaved, conjugate,
phase_float32, impl)` gives two tensors, the second empty where k is None; `rotary_qk_` writes q and
k; `rotary_cos_sin` takes rows of cos and sin; `rotary_qk_scaling_grad` is the backward of
`inv_freq` and `factors`. Their arguments are checked as those of the public functions are.
"""

# For what they do: the table is registered as a pytree.
from .ops import torch_library  # noqa: F401
from .table import rotary_table  # noqa: F401

__all__: list[str] = []
