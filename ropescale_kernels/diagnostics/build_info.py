"""What the compiled extension was built from. Needs no torch."""

from __future__ import annotations

import importlib
from typing import Any

from .._version import __version__


def build_info() -> dict[str, Any]:
    """Describe the compiled extension.

    Returns:
        `version`; `extension` (None, or why it does not import); and, where it does, `compiler`,
        `cpu_isas` (instruction sets built), `best_cpu_isa` (of those, what this processor runs),
        `cuda` (the compiler and targets of the CUDA kernels, or None) and `cuda_reason` (why it is
        None). Whether the kernels can run here, `available_impls()` says.
    """
    info: dict[str, Any] = {"version": __version__, "extension": None}
    try:
        extension = importlib.import_module("ropescale_kernels._C")
    except ImportError as error:
        info["extension"] = str(error)
        return info
    info.update(extension.build_info())
    return info
