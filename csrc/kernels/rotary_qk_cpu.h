// Launching the CPU kernel: instruction sets, threads, rounding mode.
#pragma once

#include <stdint.h>

#include "rotary_qk.h"

namespace ropescale {

enum class CpuIsa : int { kBaseline, kAvx2, kAvx512 };

const char* cpu_isa_name(CpuIsa isa);
CpuIsa best_cpu_isa();  // of this build on this processor

// Rotates every token with the kernel of `isa` (at most best_cpu_isa()) on at most `num_threads`
// threads. Bits depend on neither.
void launch_rotary_qk_cpu(const RotaryQKParams& params, CpuIsa isa, int num_threads);

// Gradients of inv_freq, (rotary_dim / 2,), and of the factors of q and k, (2,), of a table of one
// profile. `params` is the call that was made, with the upstream gradients, which are read, as its
// outputs. Bits depend on neither `isa` nor `num_threads`.
void launch_scaling_grad_cpu(const RotaryQKParams& params, CpuIsa isa, int num_threads,
                             float* of_inv_freq, float* of_factors);

// Threads beyond which a call gains nothing.
int64_t useful_threads(const RotaryQKParams& params);

// Bytes read and written by a call: what decides on threads, and on releasing Python's lock.
int64_t rotary_qk_bytes(const RotaryQKParams& params);

namespace baseline {
void rotary_qk_kernel(const RotaryQKParams& params, int64_t begin, int64_t end);
void scaling_grad_kernel(const RotaryQKParams& params, int64_t begin, int64_t end, double* sums);
}  // namespace baseline
namespace avx2 {
void rotary_qk_kernel(const RotaryQKParams& params, int64_t begin, int64_t end);
void scaling_grad_kernel(const RotaryQKParams& params, int64_t begin, int64_t end, double* sums);
}  // namespace avx2
namespace avx512 {
void rotary_qk_kernel(const RotaryQKParams& params, int64_t begin, int64_t end);
void scaling_grad_kernel(const RotaryQKParams& params, int64_t begin, int64_t end, double* sums);
}  // namespace avx512

}  // namespace ropescale
