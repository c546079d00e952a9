"""Compile before the first call every variant that calls with one table can need."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from ...ops.arguments import RotaryQKSpec
from ...table.state import TableTensors
from .compile import Variant, compiled
from .rotary_qk import rotary_qk_kernel


def warmup(spec: RotaryQKSpec) -> int:
    """Compile every variant that a call like this one may choose, and return their number."""
    chosen = list(variants_of(spec))
    for variant in chosen:
        compiled(variant)
    return len(chosen)


def variants_of(spec: RotaryQKSpec) -> Iterator[Variant]:
    """Return the variants of one table: alignment, index dtypes, profiles and axes vary."""
    table, words = spec.table, torch.int32
    dtypes = dict(zip(TableTensors._fields, table.dtypes, strict=True))
    for aligned, positions, profiles, axes in itertools.product(
        (True, False),
        (torch.int64, torch.int32),
        (None, words),
        (None,) if table.axis_ids is None else (None, words),
    ):
        yield Variant(
            rotary_qk_kernel,
            spec.q.device,
            spec.q.dtype,
            (positions, profiles, *{**dtypes, "axis_ids": axes}.values()),
            spec.rotary_dim,
            spec.q.shape[-1],
            spec.interleaved,
            aligned,
            (spec.phase_float32,),
        )
