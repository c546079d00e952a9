"""Two bugs for compute-sanitizer to find, so that its silence elsewhere says something.

    planted.py IMPL memcheck|initcheck|none

memcheck: a kernel is given an output that is one row shorter than it writes. initcheck: an input
that nobody wrote. none: neither, on inputs that other kernels wrote. Run with
PYTORCH_NO_CUDA_MEMORY_CACHING=1, because the memory pool hides the first.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

import ropescale_kernels as rk
from ropescale_kernels.ops.check import check_rotary_qk
from ropescale_kernels.ops.implementations import choose_impl

TOKENS = 64


def main(impl: str, tool: str) -> None:
    """Launch one kernel with one bug."""
    scaling = rk.RopeScaling.default(rotary_dim=128, rope_theta=1e4)
    table = rk.RotaryTable(scaling, device="cuda")
    position_ids = torch.arange(TOKENS, device="cuda")
    q = torch.empty(TOKENS, 8, 128, device="cuda")
    if tool != "initcheck":
        q.normal_()
    flags: Any = {"interleaved": False, "conjugate": False, "phase": "exact"}
    out = torch.empty_like(q), None
    spec = check_rotary_qk(q, None, position_ids, table, None, out=out, **flags)
    if tool == "memcheck":
        out[0].untyped_storage().resize_(q.nbytes - 128 * q.element_size())
    choose_impl(spec, impl).launch_rotary_qk(spec)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main(*sys.argv[1:])
