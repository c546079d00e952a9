"""`ropescale verify`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ropescale_kernels import bounds, build_info
from ropescale_kernels.diagnostics import verify

Ropescale = Callable[..., tuple[int, str, str]]


def test_it_passes_and_writes_its_checks(ropescale: Ropescale, tmp_path: Path) -> None:
    target = tmp_path / "checks.json"
    code, out, _ = ropescale("verify", "--positions", "131071,-7", "--json", str(target))
    assert code == 0, out
    assert "within bounds" in out
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


def test_it_fails_when_a_bound_is_broken(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "SINCOS_ABS", 1e-9)
    code, out, err = ropescale("verify", "--positions", "1000")
    assert code == 1
    assert "FAILED" in out
    assert "checks failed" in err


def test_the_instruction_set_is_left_as_it_was() -> None:
    extension = importlib.import_module("ropescale_kernels._C")
    before = extension.cpu_isa()
    try:
        extension.use_cpu_isa("baseline")
        verify.verify((7,))
        assert extension.cpu_isa() == "baseline"
    finally:
        extension.use_cpu_isa(before)


def test_a_check_with_other_bits_fails() -> None:
    check = verify.Check("cpu", "exact", 1, error=0.0, bound=1.0, drift=0.0, equal_bits=False)
    assert not check.passed
