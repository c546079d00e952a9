"""The machine code of every kernel instantiation for every target in the extension.

`make check` reads the newest target alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import ropescale_kernels as rk
from tools.pages import machine_code as tool

ROOT = Path(__file__).resolve().parent.parent.parent
CEILING = 96  # registers: five blocks of 128 threads on a multiprocessor
HEADS_IN_FLIGHT = 4
Kernels = list[Any]
built = rk.build_info().get("cuda")
if built is None:
    pytest.skip(f"{rk.build_info().get('cuda_reason')}", allow_module_level=True)
if tool.cuobjdump() is None:
    pytest.skip("cuobjdump comes with triton, which is not installed", allow_module_level=True)
if not list((ROOT / "ropescale_kernels").glob("_C*.so")):
    pytest.skip("the extension was not built in this checkout", allow_module_level=True)


TARGETS = [f"sm_{number}" for number in built.split("capabilities ")[1].split()]
EVERY = pytest.param(tuple(TARGETS), id="every target", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[pytest.param((TARGETS[-1],), id=TARGETS[-1]), EVERY])
def targets(request: pytest.FixtureRequest) -> set[str]:
    return set(request.param)


@pytest.fixture(scope="module")
def kernels(targets: set[str]) -> Kernels:
    found: Kernels = tool.kernels(tool.extension(), *(targets if len(targets) == 1 else ()))
    return found


def test_every_instantiation_is_there_for_every_target(kernels: Kernels, targets: set[str]) -> None:
    assert {kernel.target for kernel in kernels} == targets
    names = {kernel.name for kernel in kernels}
    # Three dtypes, two pairings, vectors or elements; and scaling_grad for three dtypes.
    assert len(names) == 3 * 2 * 2 + 3
    assert len(kernels) == len(names) * len(targets)


def test_nothing_is_spilled_and_registers_keep_to_their_ceiling(kernels: Kernels) -> None:
    for kernel in kernels:
        assert (kernel.stack, kernel.local) == (0, 0), kernel.name
        assert not [op for op in kernel.opcodes if op.startswith(("LDL", "STL"))], kernel.name
        assert kernel.registers <= CEILING, (kernel.name, kernel.target)


def test_rows_move_16_bytes_at_a_time(kernels: Kernels) -> None:
    for kernel in (each for each in kernels if each.operation == "rotary_qk"):
        loads, stores = kernel.opcodes["LDG.E.128"], kernel.opcodes["STG.E.128"]
        # For q and for k: two vectors of each head in flight, and at least one copied vector.
        least = 2 * (2 * HEADS_IN_FLIGHT + 1) if kernel.vector else 0
        assert loads == stores >= least, (kernel.name, kernel.target)
        assert bool(loads) == kernel.vector
        # No store is split into narrower ones.
        narrow = {op for op in kernel.opcodes if op.startswith("STG")} - {"STG.E.128"}
        assert bool(narrow) != kernel.vector, (kernel.name, narrow)


def test_no_approximate_instruction(kernels: Kernels) -> None:
    for kernel in kernels:
        special = {op for op in kernel.opcodes if op.startswith("MUFU")}
        # A division starts from an approximate reciprocal and refines it to the rounded quotient.
        assert special <= {"MUFU.RCP", "MUFU.RCP64H"}, (kernel.name, kernel.target)


def test_ptx_rounds_to_nearest_and_flushes_nothing() -> None:
    text = tool.ptx(tool.extension())
    lowest = min(int(number) for number in built.split("capabilities ")[1].split())
    assert set(re.findall(r"\.target sm_(\d+)", text)) == {str(lowest)}
    arithmetic = re.findall(r"\b(?:add|sub|mul|fma|mad|div|cvt)\.[\w.]*f(?:16|32|64)\b[\w.]*", text)
    assert len(arithmetic) > 1000
    assert not [op for op in arithmetic if ".ftz" in op or ".approx" in op or ".full" in op]
    rounded = [op for op in arithmetic if not op.startswith("cvt")]
    assert {op.split(".")[1] for op in rounded} == {"rn"}
    assert not re.search(r"\b(sin|cos|ex2|lg2|rsqrt|tanh)\.", text)
    # Launches overlap from compute capability 9.0 on.
    assert ("griddepcontrol" in text) == (lowest >= 90)


def test_launches_overlap_where_the_device_can(kernels: Kernels) -> None:
    for kernel in (each for each in kernels if each.operation == "rotary_qk"):
        waits = kernel.opcodes["ACQBULK"] and kernel.opcodes["PREEXIT"]
        assert bool(waits) == (int(kernel.target[3:]) >= 90), (kernel.name, kernel.target)


@pytest.mark.parametrize("targets", [EVERY], indirect=True)
def test_the_page_is_of_this_machine_code(kernels: Kernels) -> None:
    page = tool.written()
    if not page.startswith(f"{built}."):
        pytest.skip(f"the page is of another compiler than {built}")
    assert page == tool.table(kernels, built), (
        "stale: run `python -m tools.pages.machine_code --write`"
    )
