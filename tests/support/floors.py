"""How many tests have to pass where ROPESCALE_TEST_FLOORS is set, as it is in .ci/run.

A suite that shrinks without notice proves nothing: a folder that is not collected, an
implementation that is not built here, a compiler that is not found.
"""

from __future__ import annotations

import shutil

# Part of a test's id to the fewest that pass; the floor of all is the part "".
FLOORS = {
    "": 6900,
    "ops/": 1000,
    "table/": 100,
    "scaling/": 1000,
    "planner/": 150,
    "parity/": 900,
    "bench/": 220,
    "cli/": 110,
    "cuda/": 50,
    "triton/": 150,
    "properties/": 120,
    "onnx/": 80,
    "ptx/": 100,
    # Implementations, as the fixtures `impl` and `exact_impl` name them.
    "[cuda": 250,
    "[triton": 250,
    "[cpu-": 250,
}
# What nvcc made of the kernels can be read wherever the extension was built with nvcc.
WITH_NVCC = {"cuda/test_machine_code.py": 11, "ptx/test_nvcc.py": 15}


def shortfalls(passed: dict[str, int], floors: dict[str, int]) -> list[str]:
    """Return a sentence for each part of the suite of which too few tests passed.

    Args:
        passed: For each part of a test's id, how many tests with that part passed.
        floors: For each part, the fewest that have to pass.
    """
    return [
        f"{passed.get(part, 0)} tests {f'with {part!r} ' if part else ''}passed, "
        f"{least} at least must"
        for part, least in floors.items()
        if passed.get(part, 0) < least
    ]


def floors_here() -> dict[str, int]:
    """Return the floors of this machine."""
    return FLOORS | (WITH_NVCC if shutil.which("nvcc") else {})
