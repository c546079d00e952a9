"""Help, exit codes, and wrong input in one line.

What a process of its own proves is among the slow tests, unless nothing else proves it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ropescale_kernels.cli import main

Ropescale = Callable[..., tuple[int, str, str]]
COMMAND = [sys.executable, "-m", "ropescale_kernels.cli"]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [[], ["bench"], ["verify"], ["doctor"], ["inspect"], ["plan"]])
def test_help_has_an_example(ropescale: Ropescale, command: list[str], flag: str) -> None:
    code, out, _ = ropescale(*command, flag)
    assert code == 0
    assert "Usage: ropescale" in out
    assert "xample" in out
    assert f"ropescale {' '.join(command)}" in out.split("xample")[1]


def test_no_arguments_ask_for_help(ropescale: Ropescale) -> None:
    assert ropescale() == ropescale("--help")
    assert "Exit codes: 0 all is well, 1 a check failed, 2 wrong input" in ropescale()[1]


def test_version(ropescale: Ropescale) -> None:
    code, out, _ = ropescale("--version")
    assert (code, out.split()[0]) == (0, "ropescale_kernels")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["verify", "--positions", "12,x"], "--positions: expected integers, got 'x'"),
        (
            ["verify", "--positions", str(2**34 + 1)],
            f"--positions: expected at most 2^34 in magnitude, got {2**34 + 1}",
        ),
        (["verify", "--json", "/"], "--json: expected a file, got the folder /"),
        (["bench", "--tokens", "x"], "--tokens: expected 1 to 1048576, got x"),
        (["bench", "--seconds", "soon"], "--seconds: expected 0.01 to 600.0, got soon"),
        (["bench", "--threads", "1.5"], "--threads: expected 1 to 1024, got 1.5"),
        (["plan", "x", "--target-length", ""], "such as 131072, 128k or 1m, got ''"),
        (["bench", "--tokens", "0"], "--tokens: expected 1 to 1048576, got 0"),
        (["bench", "--seconds", "nan"], "--seconds: expected 0.01 to 600.0, got nan"),
        (["bench", "--threads", "0"], "--threads: expected 1 to 1024, got 0"),
        (["bench", "--model", "nope"], "--model: 'nope' is not one of 'llama-3.1-8b'"),
        (["bench", "--dtype", "float8"], "--dtype: 'float8' is not one of 'bfloat16'"),
        (["bench", "--peer", "x"], "--peer: 'x' is not one of 'unfused'"),
        (["bench", "--malloc", "keep"], "--malloc: 'keep' is not one of 'default'"),
        (["bench", "--json", "/nonexistent/x.json"], "--json: expected an existing folder"),
        (["bench", "--against", "/nonexistent"], "--against: expected a report"),
        (["bench", "--plot", __file__], "--plot: expected a folder, got the file"),
        (["bench", "--plot", f"{__file__}/x"], "--plot: expected a folder, got the file"),
        (["bench", "--tokns", "3"], "No such option: --tokns (Possible options: --tokens)"),
        (["doctor", "--json", "/nonexistent/x.json"], "--json: expected an existing folder"),
        (["inspect"], "Missing argument 'CONFIG'"),
        (["inspect", "x", "--dialect", "tgi"], "--dialect: 'tgi' is not one of 'hf'"),
        (["inspect", "x", "--seq-len", "-1"], "expected a number of tokens such as 131072"),
        (["inspect", "x", "--json", "/nonexistent/x"], "--json: expected an existing folder"),
        (["plan", "x"], "Missing option '--target-length'"),
        *(
            (
                ["plan", "x", "--target-length", length],
                f"expected a number of tokens such as 131072, 128k or 1m, got {length}",
            )
            for length in ("0", "128kb", "1.5", "k", "9" * 16 + "m")
        ),
        (["nope"], "No such command 'nope'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    ropescale: Ropescale, arguments: list[str], line: str
) -> None:
    code, out, err = ropescale(*arguments)
    assert (code, out) == (2, "")
    (only,) = err.splitlines()
    assert only.startswith("ropescale")
    assert line in only
    assert only.endswith("--help'")


def test_an_option_without_its_value_is_one_line(ropescale: Ropescale) -> None:
    code, _, err = ropescale("bench", "--malloc")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "'--malloc' requires an argument" in err


def test_a_device_that_is_not_there_is_named(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = ropescale("bench", "--device", "cuda")
    assert code == 2
    assert "--device: expected a CUDA device, found none" in err


def test_a_file_that_cannot_be_written_is_named(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Whoever runs the tests may be allowed everything, so the refusal is played.
    monkeypatch.setattr("ropescale_kernels.cli._files.os.access", lambda path, mode: False)
    monkeypatch.chdir(tmp_path)
    code, _, err = ropescale("verify", "--positions", "7", "--json", "x.json")
    assert code == 2
    assert "--json: expected a place that can be written, got x.json" in err


QUICK_BENCH = ["bench", "--quick", "--peer", "none", "--model", "llama-3.1-70b-tp8"]


def test_a_wrong_implementation_in_the_environment_is_one_line(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROPESCALE_IMPL", "nope")
    code, _, err = ropescale(*QUICK_BENCH)
    assert code == 2
    (line,) = err.splitlines()
    assert "ROPESCALE_IMPL" in line
    assert "nope" in line


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["ROPESCALE_IMPL", "ROPESCALE_CPU_ISA"])
def test_a_wrong_variable_of_the_environment_is_one_line(variable: str) -> None:
    done = subprocess.run(
        [*COMMAND, *QUICK_BENCH],
        env=os.environ | {variable: "nope"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert variable in line
    assert "nope" in line


def test_an_interrupted_command_ends_quietly(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ropescale_kernels.diagnostics.verify.verify", interrupted)
    code, _, err = ropescale("verify")
    assert (code, err) == (130, "")


def test_a_reader_who_leaves_early_is_no_error() -> None:
    shell = f"{' '.join(COMMAND)} verify --positions 7 | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extras_it_says_what_to_install(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
from ropescale_kernels.cli import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'ropescale_kernels[cli]'" in line


@pytest.mark.parametrize("command", ["bench", "verify", "inspect", "plan"])
def test_without_torch_what_needs_it_says_so(command: str) -> None:
    program = f"""
import sys
sys.modules["torch"] = None
from ropescale_kernels.cli import main
sys.exit(main([{command!r}, "--quick"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "torch" in line
    assert line.endswith("'ropescale doctor' says more")


def test_colour_and_a_bar_are_for_terminals_only(ropescale: Ropescale) -> None:
    code, out, err = ropescale("doctor")
    assert code == 0, out
    assert "\x1b[" not in out
    assert err == ""


@pytest.mark.slow
def test_a_pipe_gets_no_colour_and_no_bar() -> None:
    done = subprocess.run([*COMMAND, "doctor"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "\x1b[" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_nothing_is_cut_off_unless_a_terminal_is_narrow(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    _, out, _ = ropescale("verify", "--positions", "7")
    assert "…" not in out
    assert "all " in out


@pytest.mark.slow
def test_nothing_is_cut_off_in_a_pipe() -> None:
    done = subprocess.run(
        [*COMMAND, "verify", "--positions", "7"],
        env=os.environ | {"COLUMNS": "20"},
        capture_output=True,
        text=True,
    )
    assert "…" not in done.stdout
    assert "all " in done.stdout


@pytest.mark.slow
def test_completion_of_bash_is_written_out() -> None:
    done = subprocess.run(
        ["bash", "-c", "_ROPESCALE_COMPLETE=source_bash exec " + " ".join(COMMAND)],
        capture_output=True,
        text=True,
    )
    assert "complete" in done.stdout
    assert "ropescale" in done.stdout


@pytest.mark.parametrize("command", [["doctor"], ["verify", "--positions", "7"]])
def test_a_dash_prints_json(ropescale: Ropescale, command: list[str]) -> None:
    code, out, err = ropescale(*command, "--json", "-")
    assert code == 0, err
    assert json.loads(out)


def test_completion_is_written_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_ROPESCALE_COMPLETE", "source_bash")
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert "complete -o default -F _ropescale_completion ropescale" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", [["doctor"], ["verify", "--positions", "7"]])
def test_a_dash_prints_json_and_nothing_else(command: list[str]) -> None:
    done = subprocess.run([*COMMAND, *command, "--json", "-"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_a_full_disk_is_one_line() -> None:
    shell = f"{' '.join(COMMAND)} doctor --json - > /dev/full"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "No space left" in line
