// Reads the dataclass of a checked call ("spec") into the kernel's parameters.
#pragma once

#include <pybind11/pybind11.h>

#include "views_to_params.h"

namespace ropescale {

// `spec` is a checked call of apply_rotary_qk with its outputs. Every tensor must be on a device of
// `device_type`.
RotaryQKParams read_rotary_qk(pybind11::handle spec, int32_t device_type);

// `spec` is a checked call of apply_rotary_cos_sin with its outputs.
RotaryQKParams read_rotary_cos_sin(pybind11::handle spec, int32_t device_type);

}  // namespace ropescale
