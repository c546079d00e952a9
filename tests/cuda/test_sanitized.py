"""The contract's tests on the emulated kernels under ASan and UBSan, in several thread orders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.sanitized_python import sanitized

from tools import emulated_cuda

CONTRACT = (
    "tests/ops/test_rotary_qk.py",
    "tests/ops/test_equal_bits.py",
    "tests/ops/test_rotary_cos_sin.py",
    "tests/table/test_rotary_table.py",
    "tests/ops/test_scaling_grad.py",
)
FEWEST = 200
pytestmark = pytest.mark.slow(seconds=90)


@pytest.fixture(scope="module")
def module() -> Path:
    """Return the path of the sanitized extension with emulated kernels."""
    missing = emulated_cuda.missing_tool()
    if missing:
        pytest.skip(missing)
    return emulated_cuda.build("sanitized", sanitize="address,undefined")


@pytest.mark.parametrize("order", emulated_cuda.ORDERS)
def test_the_contract_in_any_order_of_threads(module: Path, order: str) -> None:
    done = sanitized(
        module,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cuda", *CONTRACT),
        ROPESCALE_EMULATED_ORDER=str(emulated_cuda.ORDERS[order]),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) >= FEWEST
    assert "skipped," not in done.stdout


PROBE = """
import os
import torch
import ropescale_kernels as rk
from tools import emulated_cuda
from ropescale_kernels.ops.arguments import RotaryQKSpec
module = emulated_cuda.load(os.environ["ROPESCALE_EMULATED_CUDA"])
table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
q, positions = torch.zeros(5, 1, 64), torch.arange(4)
module.rotary_qk_cuda(RotaryQKSpec(q, None, positions, None, table, 0, 0, 0, q_out=q), 0, 0, False)
"""


def test_the_sanitizers_are_there(module: Path) -> None:
    """An unchecked call reads a fifth position of four, which only a sanitizer notices."""
    done = sanitized(module, "-c", PROBE)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
