"""The extension module, and the functions of torch and of this package that it calls."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import torch
from torch.utils._device import DeviceContext

from ..errors import RopeScaleRuntimeError, RopeScaleValueError, expected
from ..names import CPU_ISAS
from ..table import RotaryTable


def bind_torch(extension: Any) -> None:
    """Hand the types and functions of torch to a compiled module, once after its import."""
    library_dir = os.path.join(os.path.dirname(torch.__file__), "lib")
    extension.set_tensor_type(torch.Tensor)
    extension.use_loaded_openmp(library_dir)
    extension.set_torch_functions(
        table_type=RotaryTable,
        runtime_error=RopeScaleRuntimeError,
        empty_like=torch.empty_like,
        increment_version=torch._C._increment_version,
        get_num_threads=torch.get_num_threads,
        # A CPU build of torch has none.
        current_stream=getattr(torch._C, "_cuda_getCurrentRawStream", None),
        dispatch_stack_size=torch._C._len_torch_dispatch_stack,
        is_tracing=torch._C._is_tracing,
        function_mode_enabled=torch._C._is_torch_function_mode_enabled,
        function_stack_size=torch._C._len_torch_function_stack,
        function_stack_at=torch._C._get_function_stack_at,
        device_context=DeviceContext,
        pre_dispatch_modes=vars(torch._ops._mode_stack_state_for_pre_dispatch),
        forward_ad=vars(torch.autograd.forward_ad),
        profiler=vars(torch.autograd.profiler),
        record_function=torch._C._profiler._RecordFunctionFast,
    )


def _load() -> tuple[Any, str | None]:
    try:
        extension: ModuleType = importlib.import_module("ropescale_kernels._C")
    except ImportError as error:
        return None, f"the extension module does not import ({error})"
    bind_torch(extension)
    isa = os.environ.get("ROPESCALE_CPU_ISA")
    if isa:
        if isa not in CPU_ISAS:
            raise RopeScaleValueError(
                expected("ROPESCALE_CPU_ISA", f"one of {', '.join(CPU_ISAS)}", isa)
            )
        extension.use_cpu_isa(isa)
    return extension, None


# The extension module and None, or None and the reason why it does not import.
extension, reason = _load()


def _fall_back(*arguments: Any) -> None:
    """Serve no call, because there is no extension."""
    return


# fast_rotary_qk(q, k, position_ids, table, interleaved, conjugate, phase, out): an
# ordinary call in one function of C++, on the CPU or on a CUDA device. `out` is None, a pair of
# buffers, or True to rotate in place. Returns the outputs (True in place). Returns None and writes
# nothing if the checked path must serve the call.
fast_rotary_qk = _fall_back if extension is None else extension.fast_rotary_qk
