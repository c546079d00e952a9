"""Rotary position embedding with YaRN scaling, in one kernel pass.

Importing this package imports neither torch nor the compiled extension. Each name is loaded at its
first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .diagnostics.build_info import build_info
from .errors import (
    RopeScaleConfigError,
    RopeScaleError,
    RopeScaleRuntimeError,
    RopeScaleTypeError,
    RopeScaleUnsupportedError,
    RopeScaleValueError,
    RopeScaleWarning,
)

if TYPE_CHECKING:
    from . import bounds, reference, unfused
    from . import onnx as onnx
    from .modules import RotaryEmbedding
    from .ops import apply_rotary_cos_sin, apply_rotary_qk, apply_rotary_qk_
    from .ops.implementations import available_impls
    from .ops.warmup import warmup
    from .scaling import RopeScaling
    from .table import RotaryTable

__all__ = [
    "RopeScaleConfigError",
    "RopeScaleError",
    "RopeScaleRuntimeError",
    "RopeScaleTypeError",
    "RopeScaleUnsupportedError",
    "RopeScaleValueError",
    "RopeScaleWarning",
    "RopeScaling",
    "RotaryEmbedding",
    "RotaryTable",
    "__version__",
    "apply_rotary_cos_sin",
    "apply_rotary_qk",
    "apply_rotary_qk_",
    "available_impls",
    "bounds",
    "build_info",
    "reference",
    "unfused",
    "warmup",
]

_HOME = {
    "RopeScaling": ".scaling",
    "RotaryEmbedding": ".modules",
    "RotaryTable": ".table",
    "apply_rotary_cos_sin": ".ops",
    "apply_rotary_qk": ".ops",
    "apply_rotary_qk_": ".ops",
    "available_impls": ".ops.implementations",
    "warmup": ".ops.warmup",
}
# `onnx` is not in __all__, because an import of all names would hide the package of that name.
_SUBMODULES = ("bounds", "onnx", "reference", "unfused")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
