"""The contenders: copy bounds, this package and optional peers, in tables by name."""

from __future__ import annotations

from . import (
    copy_bound,
    flashinfer,
    liger,
    onnxruntime,
    ours,
    sglang,
    torch_ops,
    transformers_eager,
)
from ._baseline import Baseline, Call, Pair, error_against, float64_reference, is_same_rotation
from .copy_bound import copy_bound_of

COPY_BOUNDS = (copy_bound.COPY, copy_bound.CLONE)
# A pass in place touches half of the memory of a copy. That half may fit a device's cache.
COPY_BOUNDS_ON_DEVICE = (*COPY_BOUNDS, copy_bound.PASS)
OURS = (ours.IN_PLACE, ours.GIVEN_OUTPUTS, ours.OUT_OF_PLACE)
ON_DEVICE = (ours.TRITON,)
OPTIONS = ours.OPTIONS
# Peers, by the name that `ropescale bench --peer` takes.
PEERS: dict[str, tuple[Baseline, ...]] = {
    "unfused": (torch_ops.UNFUSED,),
    "compile": torch_ops.COMPILED,
    "transformers": (transformers_eager.BASELINE,),
    "liger": (liger.BASELINE,),
    "flashinfer": (flashinfer.BASELINE,),
    "sglang": (sglang.BASELINE,),
    "onnxruntime": (onnxruntime.BASELINE,),
}
EAGER = transformers_eager.BASELINE.name
COMPILED = tuple(baseline.name for baseline in torch_ops.COMPILED)

__all__ = [
    "COMPILED",
    "COPY_BOUNDS",
    "COPY_BOUNDS_ON_DEVICE",
    "EAGER",
    "ON_DEVICE",
    "OPTIONS",
    "OURS",
    "PEERS",
    "Baseline",
    "Call",
    "Pair",
    "copy_bound_of",
    "error_against",
    "float64_reference",
    "is_same_rotation",
]
