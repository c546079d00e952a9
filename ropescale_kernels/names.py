"""Names and limits that several rooms share.

The module needs no torch, because `ropescale doctor` reads it where torch is missing.
"""

from __future__ import annotations

# The module of `backends/` that serves each implementation, in the order that "auto" tries them.
MODULES_OF_IMPLS = {
    "cuda": "cuda",
    "triton": "triton",
    "cpu": "cpu",
    "torch": "torch_ops",
    "reference": "reference",
}
IMPLS = tuple(MODULES_OF_IMPLS)
# The definition of the bits is slow, so only its name chooses it.
AUTO_IMPLS = tuple(name for name in IMPLS if name != "reference")
# Instruction sets of the CPU kernels, from narrow to wide.
CPU_ISAS = ("baseline", "avx2", "avx512")
# Channels of the widest head that the operators rotate: ROPESCALE_MAX_HEAD_DIM of ropescale.h.
MAX_HEAD_DIM = 512
# M-RoPE axes of given rows: the axis of a pair is a byte of ropescale_cos_sin.
MAX_ROW_AXES = 256
