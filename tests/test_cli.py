"""The command line, and the measuring behind it at toy size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ropescale_kernels import bounds, verify
from ropescale_kernels.bench import baselines, cases, report, timing
from ropescale_kernels.cli.app import app

RUNNER = CliRunner()


def invoke(*arguments: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, list(arguments), env={"COLUMNS": "100"})
    return result.exit_code, result.output


@pytest.mark.parametrize("command", [[], ["bench"], ["verify"]])
def test_help(command: list[str]) -> None:
    code, text = invoke(*command, "--help")
    assert code == 0
    assert "Usage" in text
    if command:
        assert "Example: ropescale" in text


def test_version() -> None:
    code, text = invoke("--version")
    assert (code, text.split()[0]) == (0, "ropescale_kernels")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "--positions", "12,x"], ["--positions", "'x'"]),
        (["verify", "--positions", str(2**34 + 1)], ["--positions", str(2**34 + 1)]),
        (["bench", "--tokens", "0"], ["--tokens"]),
        (["bench", "--model", "nope"], ["--model", "nope"]),
        (["bench", "--dtype", "float8"], ["--dtype", "float8"]),
        (["bench", "--json", "/nonexistent/folder/x.json", "--quick"], ["--json", "/nonexistent"]),
        (["nope"], ["nope"]),
    ],
)
def test_wrong_input_is_named(arguments: list[str], words: list[str]) -> None:
    code, text = invoke(*arguments)
    assert code == 2
    for word in words:
        assert word in text


def test_verify_passes_and_writes_its_checks(tmp_path: Path) -> None:
    target = tmp_path / "checks.json"
    code, text = invoke("verify", "--positions", "131071,-7", "--json", str(target))
    assert code == 0, text
    assert "within bounds" in text
    checks = json.loads(target.read_text())
    assert {c["impl"] for c in checks} >= {"cpu", "torch"}
    cpu = [c for c in checks if c["impl"] == "cpu"]
    assert all(c["equal_bits"] for c in cpu)
    far = next(c for c in cpu if c["position"] == 131071 and c["phase"] == "float32")
    assert far["drift"] > 1e-4 > far["error"] > 0


def test_verify_fails_when_a_bound_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SINCOS_ABS", 1e-9)
    code, text = invoke("verify", "--positions", "1000")
    assert code == 1
    assert "FAILED" in text
    assert "checks failed" in text


def test_a_check_with_other_bits_fails() -> None:
    check = verify.Check("cpu", "exact", 1, error=0.0, bound=1.0, drift=0.0, equal_bits=False)
    assert not check.passed


def test_bench_quick_reports_every_entry(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    code, text = invoke("bench", "--quick", "--model", "glm-4-9b", "--json", str(target))
    assert code == 0, text
    found = json.loads(target.read_text())
    assert found["machine"]["malloc"] in ("default", "retain")
    assert len(found["machine"]["csrc_sha256"]) == 64
    names = {row["entry"] for row in found["rows"]}
    assert names >= {"copy", "clone", "ours", "ours, in place", "unfused torch ops"}
    assert "Transformers eager" in names
    for row in found["rows"]:
        assert 0 < row["p20"] <= row["p50"] <= row["p80"]
        assert row["x_copy"] > 0
        assert (row["error"] is None) == (row["entry"] in ("copy", "clone"))
    decode = [row for row in found["rows"] if row["tokens"] == 1]
    assert {row["entry"] for row in decode} == names


@pytest.mark.parametrize("model", cases.MODELS)
def test_every_entry_of_every_case_gives_the_right_answer(model: str) -> None:
    inputs = cases.make_inputs(cases.prefill(model, "float32", 5))
    truth = baselines.truth_of(inputs)
    seen = 0
    for entry in baselines.entries(inputs, compiled=False, transformers=True):
        if entry.result is not None:
            # The float32 angle of the others errs by 1e-3 at position 32767.
            limit = 3e-6 if entry.name in ("ours", "ours, in place") else 2e-2
            assert baselines.error_against(entry.result(), truth) < limit
            seen += 1
    assert seen == 5


def test_interleaved_timing_orders_what_is_slower() -> None:
    timings = timing.interleave(
        {"short": lambda: sum(range(10)), "long": lambda: sum(range(100_000))}, seconds=0.05
    )
    assert timings["long"].p50 > timings["short"].p50
    assert timings["short"].samples >= 5


def test_malloc_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in report.RETAIN:
        monkeypatch.delenv(name, raising=False)
    assert report.malloc_setting() == "default"
    for name, value in report.RETAIN.items():
        monkeypatch.setenv(name, value)
    assert report.malloc_setting() == "retain"


def test_bench_starts_over_with_the_malloc_it_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    command = [sys.executable, "-m", "ropescale_kernels.cli", "bench", "--quick"]
    options = ["--model", "few-heads", "--malloc", "retain", "--json", str(target)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(target.read_text())["machine"]["malloc"] == "retain"


def test_the_command_without_its_extras_says_what_to_install() -> None:
    program = """
import sys
sys.modules["typer"] = None
from ropescale_kernels.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'ropescale_kernels[cli]'" in done.stderr
