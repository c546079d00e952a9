// What the fast call accepts. A false result raises no error: the checked path then looks at the
// call.
#pragma once

#include "views_to_params.h"

namespace ropescale {

// Whether the checked path would surely accept these inputs and run them on a compiled kernel
// without a copy.
bool inputs_valid(const RotaryQKViews& views);

// Whether every output element is written exactly once, and no input is overwritten before it is
// read. In place, the outputs are the views of the inputs.
bool outputs_valid(const RotaryQKViews& views);

// Whether a tensor requires grad or is a lazily negated view. Its memory alone does not define such
// a call.
bool must_fall_back(pybind11::handle tensor);

}  // namespace ropescale
