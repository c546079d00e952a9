// Bindings of the CPU kernels.
#pragma once

#include <pybind11/pybind11.h>

#include "../kernels/rotary_qk.h"

namespace ropescale {

void add_cpu_bindings(pybind11::module_& m);

// Adds the entries of build_info() about the CPU kernels.
void describe_cpu(pybind11::dict& info);

// Rotates with the chosen instruction set. Releases the GIL if the call is large.
void launch_on_cpu(const RotaryQKParams& params, int num_threads);

}  // namespace ropescale
