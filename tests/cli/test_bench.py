"""`ropescale bench`, at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ropescale_kernels.bench import cases, measure, report
from ropescale_kernels.bench.baselines import PEERS
from ropescale_kernels.bench.run import BenchRun
from ropescale_kernels.cli import bench

Ropescale = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("small_cache")


def test_everything_is_timed_and_kept(ropescale: Ropescale, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    code, out, err = ropescale("bench", "--quick", "--dtype", "float32", "--json", str(target))
    assert (code, err) == (0, "")
    found = report.read_json(target)
    names = {row.entry for row in found.rows}
    assert names == {
        "copy",
        "clone",
        "ours, in place",
        "ours, out=",
        "ours",
        "unfused torch ops",
        "Transformers eager",
        "onnxruntime",
    }
    assert {(row.tokens, row.cache) for row in found.rows} == {
        (tokens, cache) for tokens in (32, 1) for cache in ("hot", "flushed")
    }
    assert {fact.entry for fact in found.facts} == names - {"copy", "clone"}
    assert found.peers["onnxruntime"] is not None
    assert any(line.startswith("FlashInfer: ") for line in found.left_out)
    for name in (*names, "left out: FlashInfer", "host us", "error 1M"):
        assert name in out


def test_a_run_that_is_stopped_keeps_the_cases_it_has_timed(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target, timed, measured = tmp_path / "report.json", [], measure.measure

    def stopped(case: cases.Case, *more: object, **options: object) -> object:
        if timed:
            raise KeyboardInterrupt
        timed.append(case)
        return measured(case, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "measure", stopped)
    toy = ["bench", "--quick", "--peer", "none", "--model", "llama-3.1-70b-tp8"]
    assert ropescale(*toy, "--json", str(target))[0] != 0
    found = report.read_json(target)
    assert {row.tokens for row in found.rows} == {32}
    assert not found.complete
    monkeypatch.setattr(measure, "measure", measured)
    assert ropescale(*toy, "--json", str(target))[0] == 0
    assert report.read_json(target).complete


def test_a_run_is_compared_with_an_earlier_one(ropescale: Ropescale, tmp_path: Path) -> None:
    kept = str(tmp_path / "then.json")
    toy = ["bench", "--quick", "--peer", "none", "--model", "llama-3.1-70b-tp8", "--tokens", "4"]
    assert ropescale(*toy, "--json", kept)[0] == 0
    code, out, _ = ropescale(*toy, "--against", kept)
    assert code == 0
    assert "against then.json" in out
    assert out.count("llama-3.1-70b-tp8 bfloat16 4") == 10
    code, out, _ = ropescale(*toy[:-1], "5", "--against", kept)
    assert "then.json holds none of the rows measured now" in out


def test_pictures_need_their_suites_and_get_them(ropescale: Ropescale, tmp_path: Path) -> None:
    code, out, _ = ropescale("bench", "--quick", "--peer", "unfused", "--plot", str(tmp_path))
    assert code == 0, out
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["context.png", "error.png", "x-copy.png"]
    for name in names:
        assert f"{tmp_path}/{name}" in out.replace("\n", "")


def test_without_matplotlib_the_extra_is_named(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = ropescale("bench", "--quick", "--plot", str(tmp_path))
    assert code == 2
    assert "pip install 'ropescale_kernels[plot]'" in err


@pytest.mark.slow
def test_it_starts_over_with_each_malloc(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    command = [sys.executable, "-m", "ropescale_kernels.cli", "bench", "--quick", "--peer", "none"]
    done = subprocess.run(
        [*command, "--model", "llama-3.1-70b-tp8", "--malloc", "both", "--json", str(target)],
        env=os.environ | {"MALLOC_TRIM_THRESHOLD_": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(target.read_text())["rows"]
    count = {m: sum(row["malloc"] == m for row in rows) for m in ("default", "retain", "custom")}
    assert count == {"default": 20, "retain": 20, "custom": 0}


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[BenchRun]:
    """The plans that were run, instead of running them."""
    seen: list[BenchRun] = []

    def played(chosen: BenchRun, json_file: Path | None) -> report.Report:
        seen.append(chosen)
        return report.Report({})

    monkeypatch.setattr(bench, "_run", played)
    monkeypatch.setattr("ropescale_kernels.cli.bench.machine.malloc_setting", lambda: "default")
    return seen


@pytest.mark.parametrize(
    "chosen",
    [
        BenchRun(suites=("overview", "tokens"), peers=("unfused",)),
        BenchRun(models=("llama-3.1-70b-tp8",), dtypes=("float32", "float16"), tokens=7, threads=2),
        BenchRun(suites=("context",), peers=tuple(PEERS), seconds=2.5),
        BenchRun(models=("qwen3-32b",), layouts=("packed-qkv",), quick=True),
        BenchRun(peers=("none",)),
    ],
)
def test_a_plan_says_itself_as_a_command_line(
    ropescale: Ropescale, plans: list[BenchRun], chosen: BenchRun
) -> None:
    whole = chosen.completed()
    assert ropescale("bench", *whole.arguments())[0] == 0
    assert plans == [whole]


def test_the_default_is_an_overview_against_everything(
    ropescale: Ropescale, plans: list[BenchRun]
) -> None:
    assert ropescale("bench")[0] == 0
    assert plans[0].cases() == cases.suite(["overview"])
    assert plans[0].peers == tuple(PEERS)
