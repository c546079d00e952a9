"""What compiling ahead of time gives, for devices that are not here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")
# Before 3.9 Triton takes more registers, and the sums of gradients, in float64, do not fit.
OLD = tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 9)
SCRIPT = Path(__file__).parents[1] / "support" / "ahead.py"


def compiled(backend: str, arch: str, which: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), backend, arch, which],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def count(opcodes: dict[str, int], start: str) -> int:
    return sum(n for name, n in opcodes.items() if name.startswith(start))


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


# `make check` takes one target; `make test` all of them, one with every variant.
TARGETS = [
    slow("80", "some"),
    slow("86", "some"),
    slow("89", "some"),
    slow("90", "all"),
    ("100", "some"),
    slow("120", "some"),
]


@pytest.mark.parametrize(("arch", "which"), TARGETS)
def test_machine_code_of_nvidia(arch: str, which: str) -> None:
    found = compiled("cuda", arch, which)
    assert len(found) >= (45 if which == "all" else 5)
    for name, one in found.items():
        opcodes = one["opcodes"]
        # Each operation is rounded once, to nearest even, and keeps subnormal numbers.
        assert one["unrounded"] == [], name
        assert not one["flushing"], name
        assert one["approximate"] == [], name
        if not OLD or "rotary" in name:
            assert (one["STACK"], one["LOCAL"]) == (0, 0), name
            assert count(opcodes, "LDL") == count(opcodes, "STL") == 0, name
        assert count(opcodes, "MUFU.SIN") == count(opcodes, "MUFU.COS") == 0, name
        assert one["warps"] == 2, name
        if "rotary" in name:
            # Nine programs of two warps on a multiprocessor; of rows that are not aligned, six.
            limit = 112 if "aligned" in name else 168
            assert one["REG"] <= (184 if OLD else limit), name
        if "aligned" in name:
            # Every row by 16 bytes: both halves of two heads in flight, of q and of k; of the
            # gradients' upstream too, or of the channels beyond.
            vectors = {"rotary_qk 64 of 128 aligned": 16, "scaling_grad aligned": 16}.get(name, 8)
            assert opcodes["LDG.E.128"] >= vectors, name
            if "rotary" in name:
                assert opcodes["STG.E.128"] == vectors, name
                assert not [op for op in opcodes if op.startswith("STG") and "128" not in op], name


@pytest.mark.slow
def test_machine_code_of_amd() -> None:
    found = compiled("hip", "gfx942", "some")
    assert len(found) >= 5
    for name, one in found.items():
        opcodes = one["opcodes"]
        if not OLD or "rotary" in name:
            assert set(one["spills"].values()) == {0}, name
            assert count(opcodes, "scratch_") == 0, name
        assert count(opcodes, "v_sin") == count(opcodes, "v_cos") == 0, name
        assert one["warps"] == 1, name
        if "aligned" in name and "rotary" in name:
            for way in ("load", "store"):
                vectors = [opcodes.get(f"{at}_{way}_dwordx4", 0) for at in ("global", "buffer")]
                assert sum(vectors) >= 8, name
