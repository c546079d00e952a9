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

// Bytes read and written by a call: what decides on threads, and on releasing Python's lock.
int64_t rotary_qk_bytes(const RotaryQKParams& params);

namespace baseline {
void rotary_qk_kernel(const RotaryQKParams& params, int64_t begin, int64_t end);
}
namespace avx2 {
void rotary_qk_kernel(const RotaryQKParams& params, int64_t begin, int64_t end);
}
namespace avx512 {
void rotary_qk_kernel(const RotaryQKParams& params, int64_t begin, int64_t end);
}

}  // namespace ropescale
