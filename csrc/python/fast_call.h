// The fast call: an ordinary call of apply_rotary_qk in one C function, from Python's arguments to
// the launch on the CPU or on a CUDA device.
#pragma once

#include <pybind11/pybind11.h>

namespace ropescale {

// Python objects of torch and of this package that the fast call uses.
struct TorchFunctions {
    pybind11::object table_type;         // RotaryTable
    pybind11::object runtime_error;      // RopeScaleRuntimeError
    pybind11::object empty_like;         // torch.empty_like
    pybind11::object increment_version;  // torch._C._increment_version
    pybind11::object get_num_threads;    // torch.get_num_threads
    pybind11::object current_stream;     // device index -> stream as an int; None in a CPU build
    // The state of tracers, modes and profilers.
    pybind11::object dispatch_stack_size;    // torch._C._len_torch_dispatch_stack
    pybind11::object is_tracing;             // torch._C._is_tracing
    pybind11::object function_mode_enabled;  // torch._C._is_torch_function_mode_enabled
    pybind11::object function_stack_size;    // torch._C._len_torch_function_stack
    pybind11::object function_stack_at;      // torch._C._get_function_stack_at
    pybind11::object device_context;         // the mode of torch.set_default_device
    pybind11::dict pre_dispatch_modes;       // fields of torch's state of pre-dispatch modes
    pybind11::dict forward_ad;               // globals of torch.autograd.forward_ad
    pybind11::dict profiler;                 // globals of torch.autograd.profiler
    pybind11::object record_function;        // torch._C._profiler._RecordFunctionFast
};

// The instance of this module. Its objects are null until set_torch_functions() is called.
TorchFunctions& torch_functions();

// fast_rotary_qk(q, k, position_ids, table, interleaved, conjugate, phase, out), called without
// keywords. `out` is None to allocate, True to rotate in place, or a pair of buffers. Returns the
// outputs (True in place). Returns None without having done anything if the call must fall back to
// the checked path: fast_check.h does not accept the arguments, or a mode or a transform of torch
// must see the call.
PyObject* fast_rotary_qk(PyObject* const* arguments, Py_ssize_t count);

// Adds fast_rotary_qk and set_torch_functions.
void add_fast_call(pybind11::module_& m);

}  // namespace ropescale
