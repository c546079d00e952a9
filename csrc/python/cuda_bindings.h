// Bindings of the CUDA kernels.
#pragma once

#include <pybind11/pybind11.h>

#include "../kernels/rotary_qk_cuda.h"

namespace ropescale {

void add_cuda_bindings(pybind11::module_& m);

// Adds the entries of build_info() about the CUDA kernels.
void describe_cuda(pybind11::dict& info);

// Releases the GIL for the launch, because a launch waits if the device's queue is full.
void launch_without_gil(const RotaryQKParams& params, const CudaStream& where);

// Whether the kernels run on a device. The driver is asked once per device.
bool cuda_ready(int device);

}  // namespace ropescale
