"""pytest-benchmark over the shapes in use: `pytest bench --benchmark-only`.

ROPESCALE_BENCH_TOY=1 takes a few tokens of each, which shows only that it runs.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from ropescale_kernels.bench import baselines, cases

TOY = bool(os.environ.get("ROPESCALE_BENCH_TOY"))
SHAPES = [
    replace(case, seqlen=min(case.seqlen, 8)) if TOY else case
    for case in cases.suite(["overview", "models", "layouts"])
]
CONTENDERS = [*baselines.COPY_BOUNDS, *baselines.OURS, *baselines.PEERS["unfused"]]


@pytest.mark.parametrize("case", SHAPES, ids=lambda c: f"{c.name} {c.dtype} {c.tokens}")
@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_rotary_qk(benchmark: Any, case: cases.Case, contender: baselines.Baseline) -> None:
    benchmark.group = f"{case.name} {case.dtype} {case.tokens} tokens"
    benchmark.extra_info["bytes"] = case.bytes
    benchmark(contender.prepare(cases.make_inputs(case)).run)
