"""pytest-benchmark over the shapes in use: `pytest bench --benchmark-only`.

ROPESCALE_BENCH_TOY=1 takes a few tokens of each, which shows only that it runs.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from ropescale_kernels.bench import baselines, cases

TOKENS = 8 if os.environ.get("ROPESCALE_BENCH_TOY") else None
SHAPES = [
    *(cases.prefill(model, "bfloat16", TOKENS) for model in cases.MODELS),
    cases.prefill("llama-3.1-8b", "float32", TOKENS),
    cases.decode("llama-3.1-8b", "bfloat16"),
]
NAMES = [
    "copy",
    "clone",
    "ours, in place",
    "ours",
    "ours, interleaved",
    "ours, phase float32",
    "unfused torch ops",
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda c: f"{c.name}-{c.dtype}-{c.seqlen}")
@pytest.mark.parametrize("name", NAMES)
def test_rotary_qk(benchmark: Any, case: cases.Case, name: str) -> None:
    inputs = cases.make_inputs(case)
    found = {e.name: e for e in baselines.entries(inputs, compiled=False, transformers=False)}
    benchmark.group = f"{case.name} {case.dtype} {case.seqlen} tokens"
    benchmark.extra_info["bytes"] = case.bytes
    benchmark(found[name].call)
