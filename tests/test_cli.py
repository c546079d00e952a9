"""The command line, and the measuring behind it at toy size."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ropescale_kernels import bounds, build_info, verify
from ropescale_kernels.bench import baselines, cases, report, timing
from ropescale_kernels.cli.app import app

RUNNER = CliRunner()
OURS = ("ours", "ours, in place", "ours, interleaved")


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
        (["bench", "--tokens", "0"], ["--tokens", "got 0"]),
        (["bench", "--seconds", "nan"], ["--seconds", "got nan"]),
        (["bench", "--model", "nope"], ["--model", "nope"]),
        (["bench", "--dtype", "float8"], ["--dtype", "float8"]),
        (["bench", "--json", "/nonexistent/folder/x.json", "--quick"], ["--json", "/nonexistent"]),
        (["bench", "--malloc", "keep"], ["--malloc", "keep"]),
        (["bench", "--threads", "0"], ["--threads", "got 0"]),
        (["verify", "--json", "/"], ["--json", "the folder /"]),
        (["nope"], ["nope"]),
    ],
)
def test_wrong_input_is_named(arguments: list[str], words: list[str]) -> None:
    code, text = invoke(*arguments)
    assert code == 2
    for word in words:
        assert word in text


def test_a_file_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Whoever runs the tests may be allowed everything, so the refusal is played.
    monkeypatch.setattr("ropescale_kernels.cli._files.os.access", lambda path, mode: False)
    monkeypatch.chdir(tmp_path)
    code, text = invoke("verify", "--positions", "7", "--json", "x.json")
    assert code == 2
    assert "--json" in text
    assert "x.json" in text


def test_verify_passes_and_writes_its_checks(tmp_path: Path) -> None:
    target = tmp_path / "checks.json"
    code, text = invoke("verify", "--positions", "131071,-7", "--json", str(target))
    assert code == 0, text
    assert "within bounds" in text
    checks = json.loads(target.read_text())
    assert {c["impl"] for c in checks} >= {"cpu", "torch"}
    cpu = [c for c in checks if c["impl"] == "cpu"]
    assert all(c["equal_bits"] for c in cpu)
    info = build_info()
    built = info["cpu_isas"]
    runnable = built[: built.index(info["best_cpu_isa"]) + 1]
    assert sorted({c["isa"] for c in cpu}) == sorted(runnable)
    assert {c["isa"] for c in checks if c["impl"] == "torch"} == {None}
    far = next(c for c in cpu if c["position"] == 131071 and c["phase"] == "float32")
    assert far["drift"] > 1e-4 > far["error"] > 0


def test_verify_fails_when_a_bound_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SINCOS_ABS", 1e-9)
    code, text = invoke("verify", "--positions", "1000")
    assert code == 1
    assert "FAILED" in text
    assert "checks failed" in text


def test_verify_leaves_the_instruction_set_as_it_was() -> None:
    extension = importlib.import_module("ropescale_kernels._C")
    before = extension.cpu_isa()
    try:
        extension.use_cpu_isa("baseline")
        verify.verify((7,))
        assert extension.cpu_isa() == "baseline"
        assert report.machine()["isa"] == "baseline"
    finally:
        extension.use_cpu_isa(before)


def test_a_check_with_other_bits_fails() -> None:
    check = verify.Check("cpu", "exact", 1, error=0.0, bound=1.0, drift=0.0, equal_bits=False)
    assert not check.passed


def test_bench_quick_reports_every_entry(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    code, text = invoke("bench", "--quick", "--model", "glm-4-9b", "--json", str(target))
    assert code == 0, text
    found = json.loads(target.read_text())
    assert found["machine"]["malloc"] in ("default", "retain", "custom")
    assert len(found["machine"]["csrc_sha256"]) == 64
    names = {row["entry"] for row in found["rows"]}
    assert names >= {"copy", "clone", *OURS, "ours, phase float32", "unfused torch ops"}
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
            limit = 3e-6 if entry.name in OURS else 2e-2
            assert baselines.error_against(entry.result(), truth) < limit
            seen += 1
    assert seen == 6


def test_a_ratio_is_against_the_faster_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"torch.compile": 30.0, "torch.compile, whole": 20.0}

    def played(calls: dict[str, object], **_: object) -> dict[str, timing.Timing]:
        return {n: timing.Timing(p := times.get(n, 10.0), p, p, 5) for n in calls}

    monkeypatch.setattr(report, "interleave", played)
    # Eager stands in for compiled code, which the suite has no time to make.
    monkeypatch.setattr("torch.compile", lambda function, **_: function)
    case = cases.prefill("glm-4-9b", "float32", 5)
    rows = report.measure(case, seconds=0.01, compiled=True, transformers=False)
    ratios = {row.entry: row.speedup_compile for row in rows}
    assert ratios["ours"] == 2.0
    assert ratios["torch.compile"] == pytest.approx(2 / 3)
    # The angle is rounded to float32: at position 32767, by 2^-10 radians at most; |x| is below 6.
    errors = {row.entry: row.error for row in rows}
    for name in times:
        error = errors[name]
        assert error is not None
        assert 0 < error < 2e-2


def test_interleaved_timing_orders_what_is_slower() -> None:
    timings = timing.interleave(
        {"short": lambda: sum(range(10)), "long": lambda: sum(range(100_000))}, seconds=0.05
    )
    assert timings["long"].p50 > timings["short"].p50
    assert timings["short"].samples >= 5


def test_malloc_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("MALLOC_") or n == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    assert report.malloc_setting() == "default"
    for name, value in report.RETAIN.items():
        monkeypatch.setenv(name, value)
    assert report.malloc_setting() == "retain"
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert report.malloc_setting() == "custom"


@pytest.mark.parametrize(
    ("environment", "plain"),
    [
        ({"A": "1", "MALLOC_ARENA_MAX": "2"}, {"A": "1"}),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, {}),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.rtld.nns=4"},
            {"GLIBC_TUNABLES": "glibc.rtld.nns=4"},
        ),
        ({"GLIBC_TUNABLES": "glibc.rtld.nns=4"}, {"GLIBC_TUNABLES": "glibc.rtld.nns=4"}),
        ({}, {}),
    ],
)
def test_what_sets_malloc_is_taken_out(environment: dict[str, str], plain: dict[str, str]) -> None:
    assert report.without_malloc(environment) == plain


def test_bench_starts_over_with_each_malloc(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ropescale_kernels.cli", "bench", "--quick", "--no-eager"]
    options = ["--model", "few-heads", "--malloc", "both", "--json", str(tmp_path / "x.json")]
    done = subprocess.run(
        [*command, *options],
        env=os.environ | {"MALLOC_TRIM_THRESHOLD_": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for malloc in ("default", "retain"):
        found = json.loads((tmp_path / f"x-{malloc}.json").read_text())
        assert found["machine"]["malloc"] == malloc
    assert not (tmp_path / "x.json").exists()


def test_every_model_that_is_named_gets_its_decode(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    models = ["--model", "few-heads", "--model", "qwen3-32b", "--model", "few-heads"]
    code, text = invoke("bench", "--quick", "--no-eager", *models, "--json", str(target))
    assert code == 0, text
    rows = json.loads(target.read_text())["rows"]
    assert "Transformers eager" not in {row["entry"] for row in rows}
    copies = [(row["case"], row["tokens"]) for row in rows if row["entry"] == "copy"]
    assert sorted(copies) == [
        ("few-heads", 32),
        ("few-heads decode", 1),
        ("qwen3-32b", 32),
        ("qwen3-32b decode", 1),
    ]


@pytest.mark.parametrize("variable", ["ROPESCALE_IMPL", "ROPESCALE_CPU_ISA"])
def test_a_wrong_variable_of_the_environment_is_one_line(variable: str) -> None:
    command = [sys.executable, "-m", "ropescale_kernels.cli", "bench", "--quick", "--no-eager"]
    done = subprocess.run(
        [*command, "--model", "few-heads"],
        env=os.environ | {variable: "nope"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert variable in line
    assert "nope" in line


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
