// Tracers, modes and profilers of torch: do they take part in a call? A call that went straight to
// a kernel would be lost to them.
#pragma once

#include "fast_call.h"

namespace ropescale {

// Whether a tracer or a mode must see the call: torch.jit.trace, a dispatch mode (make_fx, fake
// tensors, counters), a mode for make_fx(pre_dispatch=True), a function mode other than a default
// device, or a level of forward-mode AD. Also true if an error is set. Tensors that are wrapped
// (torch.func, torch.compile, torch.fx) are no plain tensors, so TensorReader refuses them.
bool is_intercepted(const TorchFunctions& torch);

// Shows the launch to a profiler of torch, under the name of the operator.
class ProfiledLaunch {
  public:
    ProfiledLaunch(const TorchFunctions& torch, bool in_place);
    ~ProfiledLaunch();
    ProfiledLaunch(const ProfiledLaunch&) = delete;
    ProfiledLaunch& operator=(const ProfiledLaunch&) = delete;

  private:
    pybind11::object record_;  // null without a profiler
};

}  // namespace ropescale
