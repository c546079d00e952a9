// The short way for an ordinary call: accept it if it is plainly valid, else leave it to _check.py.
#pragma once

#include "params.h"

namespace ropescale {

// Whether the call is one that the checked path would surely accept and run on a compiled kernel as
// it is. Words no error: false only means that the checked path must look.
bool inputs_valid(const RotaryQKViews& views);

// Whether then every element is written once, and none that is still to be read. In place, the
// outputs are the inputs' own views.
bool outputs_valid(const RotaryQKViews& views);

// Whether a tensor's data is all there is to it: no gradient to record, no lazy negation.
bool is_bare(pybind11::handle tensor);

}  // namespace ropescale
