#include "rotary_qk_cpu.h"

#include <algorithm>
#include <vector>

#include "../math/lanes.h"
#include "float_mode.h"
#include "parallel.h"

namespace ropescale {
namespace {

struct CpuKernels {
    decltype(&baseline::rotary_qk_kernel) rotary_qk;
    decltype(&baseline::scaling_grad_kernel) scaling_grad;
};

CpuKernels kernels_of(CpuIsa isa) {
#if defined(ROPESCALE_HAVE_X86_ISAS)
    if (isa == CpuIsa::kAvx512) return {avx512::rotary_qk_kernel, avx512::scaling_grad_kernel};
    if (isa == CpuIsa::kAvx2) return {avx2::rotary_qk_kernel, avx2::scaling_grad_kernel};
#else
    (void)isa;
#endif
    return {baseline::rotary_qk_kernel, baseline::scaling_grad_kernel};
}

}  // namespace

const char* cpu_isa_name(CpuIsa isa) {
    switch (isa) {
        case CpuIsa::kAvx512:
            return "avx512";
        case CpuIsa::kAvx2:
            return "avx2";
        case CpuIsa::kBaseline:
            return "baseline";
    }
    return "unknown";
}

CpuIsa best_cpu_isa() {
#if defined(ROPESCALE_HAVE_X86_ISAS)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("f16c");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx2 && avx512) return CpuIsa::kAvx512;
    if (avx2) return CpuIsa::kAvx2;
#endif
    return CpuIsa::kBaseline;
}

int64_t rotary_qk_bytes(const RotaryQKParams& p) {
    const int64_t heads = p.q.nheads + (p.k.in ? p.k.nheads : 0);
    return 2 * p.batch * p.seqlen * heads * p.head_dim * element_size(p.dtype);
}

int64_t useful_threads(const RotaryQKParams& p) {
    // Below this a second thread costs more than it saves (a few microseconds to wake it).
    constexpr int64_t kBytesPerThread = 128 * 1024;
    const int64_t most = std::min(p.batch * p.seqlen, rotary_qk_bytes(p) / kBytesPerThread);
    return std::max<int64_t>(1, most);
}

void launch_rotary_qk_cpu(const RotaryQKParams& p, CpuIsa isa, int num_threads) {
    const int64_t num_tokens = p.batch * p.seqlen;
    if (num_tokens == 0 || rotary_qk_bytes(p) == 0) return;
    const auto kernel = kernels_of(isa).rotary_qk;
    const int threads = int(std::min<int64_t>(std::max(1, num_threads), useful_threads(p)));
    parallel_ranges(num_tokens, threads, [&](int64_t begin, int64_t end) {
        const FloatModeGuard guard;
        kernel(p, begin, end);
    });
}

void launch_scaling_grad_cpu(const RotaryQKParams& p, CpuIsa isa, int num_threads,
                             float* of_inv_freq, float* of_factors) {
    const auto kernel = kernels_of(isa).scaling_grad;
    // Cut by the number of tokens alone and summed in order: the bits are those of one thread.
    constexpr int64_t kMostGroups = 256;
    const int64_t num_tokens = p.batch * p.seqlen, num_pairs = p.rotary_dim / 2;
    const int64_t num_sums = num_pairs + 2;
    const int64_t group = (num_tokens + kMostGroups - 1) / kMostGroups;
    const int64_t groups = group ? (num_tokens + group - 1) / group : 0;
    std::vector<double> sums(size_t(groups * num_sums));
    parallel_ranges(groups, std::max(1, num_threads), [&](int64_t begin, int64_t end) {
        const FloatModeGuard guard;
        for (int64_t i = begin; i < end; ++i) {
            kernel(p, i * group, std::min(num_tokens, (i + 1) * group),
                   &sums[size_t(i * num_sums)]);
        }
    });
    const FloatModeGuard guard;
    std::vector<double> total(size_t(num_sums), 0.0);
    for (int64_t i = 0; i < groups * num_sums; ++i) total[size_t(i % num_sums)] += sums[size_t(i)];
    for (int64_t j = 0; j < num_pairs; ++j) of_inv_freq[j] = float(total[size_t(j)]);
    for (int64_t i = 0; i < 2; ++i) {
        // The cosines and sines that were summed are multiplied by the factor already.
        const double factor = ScalarLanes::as_float(p.table.factors[i]);
        of_factors[i] = float(total[size_t(num_pairs + i)] / factor);
    }
}

}  // namespace ropescale
