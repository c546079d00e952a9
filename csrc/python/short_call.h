// The whole of an ordinary call in one function of C: from Python's arguments to the kernel, on
// the CPU or on a CUDA device.
#pragma once

#include <pybind11/pybind11.h>

#include "../kernels/rotary_qk.h"
#include "tensor_view.h"

namespace ropescale {

// What a call needs of torch and of the package, as Python objects.
struct PythonSide {
    pybind11::object table_type;           // RotaryTable
    pybind11::object runtime_error;        // RopeScaleRuntimeError
    pybind11::object empty_like;           // torch.empty_like
    pybind11::object increment_version;    // torch._C._increment_version
    pybind11::object dispatch_stack_size;  // torch._C._len_torch_dispatch_stack
    pybind11::object forward_ad;           // torch.autograd.forward_ad
    pybind11::object get_num_threads;      // torch.get_num_threads
    pybind11::object current_stream;       // of a device by index, as an int; None: torch has none
};

// fast_rotary_qk(q, k, position_ids, table, interleaved, conjugate, phase, out), called without
// keywords. `out` is None to allocate, True to rotate in place, or a pair of buffers. Gives the
// outputs (True in place); or None where the call is not plainly valid, or something watches it
// that must see more than memory: then nothing was done, and the checked path must look at it.
PyObject* fast_rotary_qk(const PythonSide& python, const TensorReader& tensors,
                         PyObject* const* arguments, Py_ssize_t count,
                         void (*launch_on_cpu)(const RotaryQKParams&, int num_threads));

}  // namespace ropescale
