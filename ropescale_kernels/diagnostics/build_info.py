"""Compiler and targets of the compiled extension, read without torch."""

from __future__ import annotations

import importlib
from typing import Any

from .._version import __version__


def build_info() -> dict[str, Any]:
    """Return a description of the compiled extension.

    `available_impls()` tells whether the kernels can run here.

    Returns:
        `version`, and `extension`: None, or the reason the extension does not import. If it
        imports, also `compiler`, `cpu_isas` (instruction sets built), `best_cpu_isa` (the best of
        them that this processor runs), `cuda` (compiler and targets of the CUDA kernels, or None)
        and `cuda_reason` (the reason `cuda` is None).
    """
    info: dict[str, Any] = {"version": __version__, "extension": None}
    try:
        extension = importlib.import_module("ropescale_kernels._C")
    except ImportError as error:
        info["extension"] = str(error)
        return info
    info.update(extension.build_info())
    return info
