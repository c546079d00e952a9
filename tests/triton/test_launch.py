"""Launching compiled kernels through a driver that launches nothing: what compiles, and when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).parents[2] / "tools" / "stub_launch.py"


def stub(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), *arguments],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_after_warmup_no_shape_compiles_anything() -> None:
    found = stub("shapes")
    assert found["compiled in warmup"] == found["variants"] == 8
    assert found["launches"] == 200
    assert found["variants seen"] >= 6
    assert found["compiled after"] == 0
    # The hook does see what compiles: another head_dim.
    assert found["compiled for another model"] == 1


def test_a_launch_hands_over_what_the_kernel_declares() -> None:
    (launch,) = stub("one")
    assert launch["grid"] == [1, 3, 1]
    assert launch["stream"] == 77
    assert launch["named"]["stride_q_token"] == 4 * 64
    assert launch["named"]["nheads_k"] == 1
    assert launch["named"]["seqlen"] == 9
    assert launch["named"]["ROTARY_DIM"] == 64
    assert launch["device switched to"] == [3, 0]


def test_where_nothing_can_run_it_says_why() -> None:
    program = "import ropescale_kernels as rk; print(rk.available_impls()['triton'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("torch finds no device (TRITON_INTERPRET=1")
    program = "import sys; sys.modules['triton'] = None; " + program
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "triton is not installed\n"


@pytest.mark.slow
def test_the_host_is_timed(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    target = tmp_path / "launch.json"
    subprocess.run(
        [sys.executable, str(root / "bench" / "triton_launch.py"), "--json", str(target)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = json.loads(target.read_text())
    assert found["in_place_us"] > found["launch_us"] > 0
    assert found["allocating_us"] > found["two_empty_like_us"] > 0
