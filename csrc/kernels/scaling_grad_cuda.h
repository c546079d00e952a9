// Gradients of a table's inv_freq and factors on CUDA devices.
#pragma once

#include "rotary_qk_cuda.h"

namespace ropescale {

// Groups of tokens whose sums stay apart: by the number of tokens alone, so that no device and no
// launch changes the order of additions.
inline int64_t scaling_grad_groups(int64_t num_tokens) {
    constexpr int64_t kMostGroups = 1024;
    return num_tokens < kMostGroups ? num_tokens : kMostGroups;
}

// Fills sums, (scaling_grad_groups, rotary_dim / 2, 3): what each group of tokens adds to the
// gradient of a pair's inv_freq, and through a pair to the products of gradient and factor of q and
// of k. `params` is the call that was made, with the upstream gradients, which are read, as its
// outputs. Throws CudaError.
void launch_scaling_grad_cuda(const RotaryQKParams& params, const CudaStream& where, double* sums);

// Loads every kernel of these sums onto the device and returns their number.
int load_scaling_grad_kernels(int device);

}  // namespace ropescale
