"""What a report's figures are held against, each with a figure that fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ropescale_kernels.bench import baselines, cases
from ropescale_kernels.bench.sources import ROOT
from tools.gpu import judgement

H100 = {"name": "NVIDIA H100 80GB HBM3"}
H200 = {"name": "NVIDIA H200"}
KNOWN = json.loads(judgement.PREDICTIONS.read_text())


def bench(*rows: dict[str, Any]) -> dict[str, Any]:
    whole = {"layout": "contiguous", "context": 32768, "cache": "hot"}
    case = {"model": judgement.MODEL, "dtype": "bfloat16", "tokens": judgement.TOKENS}
    return {"rows": [whole | case | row for row in rows]}


def figures(copy: float = 224.0, ours: float = 230.0, rate: float = 3000.0) -> dict[str, Any]:
    return bench(
        {"entry": "copy", "p50": copy, "gb_per_s": rate},
        {"entry": "ours, in place", "p50": ours, "gb_per_s": rate},
        {"entry": "copy", "p50": 1.0, "gb_per_s": 1.0, "cache": "flushed"},
        {"entry": "copy", "p50": 1.0, "gb_per_s": 1.0, "tokens": 1},
    )


def passed(*arguments: Any) -> list[bool | None]:
    return [check["passed"] for check in judgement.sanity(*arguments)]


def test_a_sound_run_passes() -> None:
    assert passed(figures(), figures(copy=228.0, ours=225.0), H100) == [True, True, True]
    assert passed(figures(rate=4200.0), figures(), H200) == [True, True, True]


@pytest.mark.parametrize("rate", [2500.0, 3500.0])
def test_a_rate_that_the_card_does_not_have_fails(rate: float) -> None:
    assert passed(figures(rate=rate), figures(), H100)[0] is False
    (copy, *_) = judgement.sanity(figures(rate=rate), None, H100)
    assert copy["wanted"] == "within 15% of the card's 3000 GB/s"
    assert copy["found"] == f"{rate:.0f} GB/s"


def test_a_case_that_does_not_repeat_fails() -> None:
    assert passed(figures(), figures(ours=243.0), H100) == [True, True, False]
    assert passed(figures(copy=240.0), figures(), H100) == [True, False, True]


def test_what_was_not_measured_is_not_checked() -> None:
    assert passed(None, None, None) == [None] * 3
    # One that shares a part of a known card's name is another card.
    for name in ("another card", "NVIDIA GH200 480GB", "NVIDIA H100 PCIe"):
        checks = judgement.sanity(figures(), None, {"name": name})
        assert [check["passed"] for check in checks] == [None] * 3
        assert checks[0]["unknown_card"]


def test_predictions_stand_beside_what_was_measured() -> None:
    rows = [
        {"entry": "copy", "tokens": 1, "p50": 2.6},
        {"entry": "copy", "tokens": 1, "p50": 1.3, "cache": "graph"},
        {"entry": "ours, in place", "tokens": 4096, "p50": 22.0},
        {"entry": "ours", "tokens": 4096, "p50": 22.0},
    ]
    found = judgement.predictions(bench(*rows), H200)
    assert [(row["entry"], row["cache"], row["predicted"], row["ratio"]) for row in found] == [
        ("copy", "graph", 1.3, 1.0),
        ("ours, in place", "hot", 22.0, 1.0),
    ]
    assert {row["card"] for row in found} == {"H200"}
    assert judgement.predictions(bench(*rows), {"name": "another card"}) == []


def test_every_prediction_is_of_a_case_that_the_script_times() -> None:
    script = (ROOT / "bench" / "gpu.sh").read_text()
    assert "--suite shapes" in script
    timed = {(c.model, c.dtype, c.tokens) for c in cases.suite(["shapes"], "cuda")}
    predicted = {(c["model"], c["dtype"], c["tokens"]) for c in KNOWN["microseconds"]}
    assert predicted == timed
    floors, ours = baselines.COPY_BOUNDS_ON_DEVICE, (*baselines.OURS, *baselines.ON_DEVICE)
    names = {b.name for b in (*floors, *ours)}
    names |= {b.name for peers in baselines.PEERS.values() for b in peers}
    assert set(KNOWN["entries"]) <= names
    for case in KNOWN["microseconds"]:
        assert len(case["H100"]) == len(case["H200"]) == len(KNOWN["entries"])


def test_the_case_that_is_repeated_is_one_that_the_script_times() -> None:
    script = (ROOT / "bench" / "gpu.sh").read_text()
    assert f"--model {judgement.MODEL} --tokens {judgement.TOKENS}" in script
    key = (judgement.MODEL, judgement.DTYPE, judgement.TOKENS)
    assert key in {(c.model, c.dtype, c.tokens) for c in cases.suite(["shapes"], "cuda")}
