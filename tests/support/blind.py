"""The package without its eyes for tracers and modes, which is how a short call would lose them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from ropescale_kernels.backends import compiled
from ropescale_kernels.ops import call

NOBODY: dict[str, Any] = {
    "dispatch_stack_size": lambda: 0,
    "is_tracing": lambda: False,
    "function_mode_enabled": lambda: False,
    "pre_dispatch_modes": {},
}


@contextmanager
def blinded() -> Iterator[None]:
    """Let the fast call and the checked call see no tracer and no mode."""
    extension = compiled.extension

    def bind(**functions: Any) -> None:
        extension.set_torch_functions(**(functions | NOBODY))

    compiled.bind_torch(
        SimpleNamespace(
            set_tensor_type=extension.set_tensor_type,
            use_loaded_openmp=extension.use_loaded_openmp,
            set_torch_functions=bind,
        )
    )
    try:
        with patch.object(call, "in_trace_or_mode", lambda: False):
            yield
    finally:
        compiled.bind_torch(extension)
