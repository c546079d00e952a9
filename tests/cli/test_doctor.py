"""`ropescale doctor`: what is fine, what is broken, and that broken things do not break it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ropescale_kernels as rk
from ropescale_kernels.diagnostics import doctor
from ropescale_kernels.ops import implementations

Ropescale = Callable[..., tuple[int, str, str]]


def by_name(topic: str) -> dict[str, doctor.Finding]:
    return {f.name: f for f in doctor.examine() if f.topic == topic}


def test_all_is_well_here(ropescale: Ropescale, tmp_path: Path) -> None:
    target = tmp_path / "doctor.json"
    code, out, err = ropescale("doctor", "--json", str(target))
    assert (code, err) == (0, "")
    found = json.loads(target.read_text())
    assert found["fine"] is True
    assert found["auto"].startswith("impl='auto' takes cpu for CPU tensors")
    assert found["auto"] in out
    for finding in found["findings"]:
        assert finding["status"] in ("ok", "note")
        assert finding["name"] in out


def test_the_package_is_named_by_its_own_folder() -> None:
    found = doctor.examine()
    home = Path(rk.__file__).resolve().parent
    checkout = (home.parent / "setup.py").is_file()
    kind = "a source checkout" if checkout else "an installed copy"
    assert by_name("package")["ropescale_kernels"].text == f"{rk.__version__}, {kind} at {home}"
    assert not [f for f in found if f.name == "another copy" and f.text.startswith(f"{home}:")]


def test_every_implementation_is_tried_or_has_its_reason() -> None:
    found = by_name("implementations")
    for name, reason in rk.available_impls().items():
        assert found[name].status == ("ok" if reason is None else "note")
        assert found[name].text == (reason or found[name].text)
    assert found["cpu"].text == "runs, with the bits of the definition"


def test_a_wrong_answer_is_a_problem(ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch) -> None:
    from ropescale_kernels.backends import torch_ops

    def wrong(spec: object) -> None:
        spec.q_out.fill_(1.0)  # type: ignore[attr-defined]

    monkeypatch.setattr(torch_ops, "launch_rotary_qk", wrong)
    code, out, err = ropescale("doctor")
    assert code == 1
    assert "torch gave a wrong answer" in " ".join(out.split())
    assert err.startswith("ropescale doctor: 1 found: implementations")


def test_an_extension_that_does_not_import_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "build_info", lambda: {"extension": "no such file"})
    finding = by_name("extension")["compiled extension"]
    assert finding.status == "problem"
    assert "no such file" in finding.text
    assert "pip install ." in finding.text


@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("ROPESCALE_IMPL", "cpu", "ok", "overrides"),
        ("ROPESCALE_IMPL", "gpu", "problem", "expected one of auto, cuda"),
        ("ROPESCALE_CPU_ISA", "sse", "problem", "expected one of baseline"),
        ("ROPESCALE_IMLP", "cpu", "note", "no such variable"),
        ("MALLOC_ARENA_MAX", "1", "ok", "malloc"),
        ("OMP_NUM_THREADS", "3", "ok", "threads"),
    ],
)
def test_variables_that_matter_are_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, status: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    finding = {line[0]: line for line in doctor._environment()}[name]
    assert finding[1] == status
    assert words in finding[2]
    assert value in finding[2]


def test_a_probe_that_raises_is_a_problem_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> Iterator[tuple[str, str, str]]:
        raise OSError("libcudart is gone")
        yield

    monkeypatch.setitem(doctor._PROBES, "GPU", broken)
    found = doctor.examine()
    (problem,) = [f for f in found if f.status == "problem"]
    assert (problem.topic, problem.text) == ("GPU", "OSError: libcudart is gone")
    assert {f.topic for f in found} >= {"package", "optional packages"}


@pytest.mark.parametrize(
    "missing", ["torch", pytest.param("ropescale_kernels._C", marks=pytest.mark.slow)]
)
def test_it_works_without(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
from ropescale_kernels.cli import main
sys.exit(main(["doctor"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ropescale doctor: 1 found: ")
    assert {"torch": "torch torch", "ropescale_kernels._C": "compiled extension"}[missing] in line
    assert "Traceback" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "code"), [("ROPESCALE_IMPL", 1), ("ROPESCALE_CPU_ISA", 1), ("ROPESCALE_X", 0)]
)
def test_a_wrong_variable_is_diagnosed(variable: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ropescale_kernels.cli", "doctor"],
        env=os.environ | {variable: "nope"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert variable in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert (f"environment {variable}" in done.stderr) == bool(code)


def test_an_implementation_that_raises_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ropescale_kernels.backends import torch_ops

    def raises(spec: object) -> None:
        raise OSError("the driver is gone")

    monkeypatch.setattr(torch_ops, "launch_rotary_qk", raises)
    found = by_name("implementations")
    assert (found["torch"].status, found["torch"].text) == (
        "problem",
        "OSError: the driver is gone",
    )
    assert found["cpu"].status == found["reference"].status == "ok"


class Absent:
    """An implementation that cannot run."""

    def unavailable(self) -> str:
        return "it is not here"


def test_a_forced_implementation_that_cannot_run_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(implementations, "_loaded", {"cuda": Absent()})
    monkeypatch.setenv("ROPESCALE_IMPL", "cuda")
    assert by_name("environment")["ROPESCALE_IMPL"].status == "problem"
    assert doctor.choice() == "nothing can run: ROPESCALE_IMPL asks for cuda: it is not here"
    monkeypatch.setenv("ROPESCALE_IMPL", "torch")
    assert doctor.choice().startswith("impl='auto' takes torch for every tensor")
