"""The names and limits that several rooms share: no torch, and equal to the C header's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ropescale_kernels as rk
from ropescale_kernels import names

ROOT = Path(__file__).resolve().parent.parent


def test_the_names_need_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from ropescale_kernels.names import IMPLS, CPU_ISAS\n"
        "print(*IMPLS, *CPU_ISAS)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*names.IMPLS, *names.CPU_ISAS]


def test_the_implementations_are_those_of_the_table() -> None:
    assert list(rk.available_impls()) == list(names.IMPLS)
    assert set(names.AUTO_IMPLS) == set(names.IMPLS) - {"reference"}


def test_the_widest_head_is_that_of_the_c_header() -> None:
    header = (ROOT / "csrc" / "include" / "ropescale.h").read_text()
    found = re.search(r"#define ROPESCALE_MAX_HEAD_DIM (\d+)", header)
    assert found is not None
    assert int(found[1]) == names.MAX_HEAD_DIM
