// In the place of the CUDA kernels where a build has none.
#include "rotary_qk_cuda.h"
#include "scaling_grad_cuda.h"

namespace ropescale {

std::string cuda_unavailable(int) { return ROPESCALE_CUDA_REASON; }

void launch_rotary_qk_cuda(const RotaryQKParams&, const CudaStream&) {
    throw CudaError(cuda_unavailable(0));
}

void launch_scaling_grad_cuda(const RotaryQKParams&, const CudaStream&, double*) {
    throw CudaError(cuda_unavailable(0));
}

int load_rotary_qk_kernels(int) { throw CudaError(cuda_unavailable(0)); }

int load_scaling_grad_kernels(int) { throw CudaError(cuda_unavailable(0)); }

}  // namespace ropescale
