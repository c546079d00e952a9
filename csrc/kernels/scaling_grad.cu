// Gradients of a table's inv_freq and factors: what each group of tokens adds to them.
#include "cos_sin_cuda.h"
#include "launch_cuda.h"
#include "scaling_grad_cuda.h"

namespace ropescale {
namespace cuda {
namespace {

constexpr int kThreads = 128;

// A thread has one pair: sums over heads of g0 x0 + g1 x1 and of g1 x0 - g0 x1.
struct Products {
    double along = 0, across = 0;

    template <class T>
    __device__ __forceinline__ void add_heads(const HeadsParams& heads, const RotaryQKParams& p,
                                              TokenIndex at, int pair) {
        const int64_t first = p.interleaved ? 2 * pair : pair;
        const int64_t partner = p.interleaved ? 1 : p.rotary_dim / 2;
        const T* x = static_cast<const T*>(heads.in) + at.batch * heads.in_stride_batch +
                     at.token * heads.in_stride_token + first;
        const T* g = static_cast<const T*>(heads.out) + at.batch * heads.out_stride_batch +
                     at.token * heads.out_stride_token + first;
        for (int64_t h = 0; h < heads.nheads; ++h) {
            const double x0 = widen(x[0]), x1 = widen(x[partner]);
            const double g0 = widen(g[0]), g1 = widen(g[partner]);
            along += g0 * x0 + g1 * x1;
            across += g1 * x0 - g0 * x1;
            x += heads.in_stride_head;
            g += heads.out_stride_head;
        }
    }
};

// The one pair of a thread, as fill_cos_sin asks for it.
struct OnePair {
    static constexpr int kPairs = 1;
    int index;
    __device__ __forceinline__ int pair(int) const { return index; }
};

template <class T>
__device__ __forceinline__ void add_token(const RotaryQKParams& p, TokenIndex at, OnePair pair,
                                          double (&sums)[3]) {
    CosSin<1> table;
    if (!fill_cos_sin(p, at, pair, table)) return;
    double of_angle = 0;
    const HeadsParams* const both[2] = {&p.q, &p.k};
    const float factors[2] = {table.factor_q, table.factor_k};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        Products products;
        products.add_heads<T>(*both[i], p, at, pair.index);
        // The cosines and sines that are summed are multiplied by the factor already.
        const double c = table.c[0] * factors[i], s = table.s[0] * factors[i];
        sums[1 + i] += c * products.along + s * products.across;
        of_angle += c * products.across - s * products.along;
    }
    const double position = double(position_of_pair(p, at, pair.index));
    // Rotating backwards, an angle grows the other way.
    sums[0] += (p.conjugate ? -of_angle : of_angle) * position;
}

// Block (kThreads) of pairs; grid (groups of tokens, blocks of pairs).
template <class T>
__global__ void __launch_bounds__(kThreads)
    scaling_grad_kernel(const __grid_constant__ RotaryQKParams p, int64_t group, double* out) {
    const int num_pairs = int(p.rotary_dim / 2);
    const OnePair pair{int(blockIdx.y * blockDim.x + threadIdx.x)};
    if (pair.index >= num_pairs) return;
    const int64_t begin = blockIdx.x * group;
    const int64_t end = min(begin + group, p.batch * p.seqlen);
    double sums[3] = {0, 0, 0};
    for (int64_t token = begin; token < end; ++token) {
        add_token<T>(p, token_index(p, token), pair, sums);
    }
    double* to = out + 3 * (int64_t(blockIdx.x) * num_pairs + pair.index);
    for (int i = 0; i < 3; ++i) to[i] = sums[i];
}

using Kernel = void (*)(RotaryQKParams, int64_t, double*);

Kernel kernel_of(DType dtype) {
    switch (dtype) {
        case ROPESCALE_FLOAT16:
            return scaling_grad_kernel<Half>;
        case ROPESCALE_BFLOAT16:
            return scaling_grad_kernel<BFloat16>;
        default:
            return scaling_grad_kernel<float>;
    }
}

}  // namespace
}  // namespace cuda

void launch_scaling_grad_cuda(const RotaryQKParams& p, const CudaStream& where, double* sums) {
    const int64_t num_tokens = p.batch * p.seqlen, groups = scaling_grad_groups(num_tokens);
    if (groups == 0) return;
    const int64_t group = (num_tokens + groups - 1) / groups;
    const int64_t num_pairs = p.rotary_dim / 2;
    const int threads = int(std::min<int64_t>(num_pairs, cuda::kThreads));
    const cuda::DeviceGuard guard(where.device);
    cuda::launch("scaling_grad_kernel", cuda::kernel_of(p.dtype), where,
                 {groups, (num_pairs + threads - 1) / threads, threads, 1}, p, group, sums);
}

int load_scaling_grad_kernels(int device) {
    const cuda::DeviceGuard guard(device);
    const cuda::RelaxedCapture relaxed;
    int count = 0;
    for (DType dtype : {ROPESCALE_FLOAT32, ROPESCALE_FLOAT16, ROPESCALE_BFLOAT16}) {
        cuda::load("scaling_grad_kernel", cuda::kernel_of(dtype));
        ++count;
    }
    return count;
}

}  // namespace ropescale
