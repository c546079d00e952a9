// The CUDA kernels in the extension module.
#pragma once

#include <pybind11/pybind11.h>

#include "../kernels/rotary_qk_cuda.h"

namespace ropescale {

void add_cuda_bindings(pybind11::module_& m);

// What build_info() says of the CUDA kernels.
void describe_cuda(pybind11::dict& info);

// Launches without Python's lock: where the device's queue is full, a launch waits for room in it.
void launch_unlocked(const RotaryQKParams& params, const CudaStream& where);

// Whether the kernels run on a device; asked of the driver once.
bool cuda_ready(int device);

}  // namespace ropescale
