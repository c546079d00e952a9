"""What a case is timed against: a table of optional, detected ways of doing the same."""

from __future__ import annotations

from . import flashinfer, floor, liger, onnxruntime, ours, sglang, torch_ops, transformers_eager
from ._baseline import Baseline, Call, Pair, error_against, is_rotated, truth_of
from .floor import floor_of

FLOOR = (floor.COPY, floor.CLONE)
# In place, a device touches half of the memory that a copy does, which may fit its cache.
FLOOR_ON_DEVICE = (*FLOOR, floor.PASS)
OURS = (ours.IN_PLACE, ours.GIVEN_OUTPUTS, ours.OUT_OF_PLACE)
ON_DEVICE = (ours.TRITON,)
OPTIONS = ours.OPTIONS
# By the name that `ropescale bench --peer` takes.
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
    "EAGER",
    "FLOOR",
    "FLOOR_ON_DEVICE",
    "ON_DEVICE",
    "OPTIONS",
    "OURS",
    "PEERS",
    "Baseline",
    "Call",
    "Pair",
    "error_against",
    "floor_of",
    "is_rotated",
    "truth_of",
]
