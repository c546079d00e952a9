// From a checked call of _check.py to the kernels' parameters.
#pragma once

#include <pybind11/pybind11.h>

#include "params.h"
#include "tensor_view.h"

namespace ropescale {

// The one of this module.
TensorReader& tensor_reader();

// `spec` is a RotaryQKSpec with outputs; its tensors must be on a device of `device_type`.
RotaryQKParams read_rotary_qk(pybind11::handle spec, int32_t device_type);

// `spec` is a RotaryCosSinSpec with outputs.
RotaryQKParams read_rotary_cos_sin(pybind11::handle spec, int32_t device_type);

}  // namespace ropescale
