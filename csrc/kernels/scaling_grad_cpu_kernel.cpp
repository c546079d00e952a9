// Gradients of a table's inv_freq and factors on the CPU: what a range of tokens adds to them.
// Compiled once per instruction set; launched by rotary_qk_cpu.cpp.
#include "cos_sin_cpu.h"
#include "isa.h"
#include "rotary_qk_cpu.h"

namespace ropescale {
namespace {

// Sums over the heads of one token, for each pair: g0 x0 + g1 x1 and g1 x0 - g0 x1.
struct Products {
    double along[kMaxPairs], across[kMaxPairs];
};

template <class T>
void add_heads(const HeadsParams& heads, const RotaryQKParams& p, int64_t b, int64_t t,
               Products& sum) {
    const int64_t num_pairs = p.rotary_dim / 2;
    const int64_t step = p.interleaved ? 2 : 1, partner = p.interleaved ? 1 : num_pairs;
    for (int64_t j = 0; j < num_pairs; ++j) sum.along[j] = sum.across[j] = 0;
    for (int64_t h = 0; h < heads.nheads; ++h) {
        const T* x = static_cast<const T*>(heads.in) + b * heads.in_stride_batch +
                     t * heads.in_stride_token + h * heads.in_stride_head;
        const T* g = static_cast<const T*>(heads.out) + b * heads.out_stride_batch +
                     t * heads.out_stride_token + h * heads.out_stride_head;
        for (int64_t j = 0; j < num_pairs; ++j) {
            const double x0 = OneLane::load(x + j * step),
                         x1 = OneLane::load(x + j * step + partner);
            const double g0 = OneLane::load(g + j * step),
                         g1 = OneLane::load(g + j * step + partner);
            sum.along[j] += g0 * x0 + g1 * x1;
            sum.across[j] += g1 * x0 - g0 * x1;
        }
    }
}

template <class T>
void add_tokens(const RotaryQKParams& p, int64_t begin, int64_t end, double* sums) {
    const int64_t num_pairs = p.rotary_dim / 2;
    const double direction = p.conjugate ? -1.0 : 1.0;
    CosSinBlock block;
    CosSinSource source(p);
    Products products;
    double of_angle[kMaxPairs];
    for (int64_t token = begin; token < end; ++token) {
        const int64_t b = token / p.seqlen, t = token % p.seqlen;
        if (!source.has_profile(b, t)) continue;
        source.fill(block, 0, b, t);
        for (int64_t j = 0; j < num_pairs; ++j) of_angle[j] = 0;
        for (int is_k = 0; is_k < 2; ++is_k) {
            const HeadsParams& heads = is_k ? p.k : p.q;
            if (!heads.in) continue;
            add_heads<T>(heads, p, b, t, products);
            const bool own = is_k && block.k_has_own[0];
            const float *cos = own ? block.cos_k : block.cos_q,
                        *sin = own ? block.sin_k : block.sin_q;
            double of_factor = 0;
            for (int64_t j = 0; j < num_pairs; ++j) {
                const double c = cos[j], s = sin[j];
                of_factor += c * products.along[j] + s * products.across[j];
                of_angle[j] += c * products.across[j] - s * products.along[j];
            }
            sums[num_pairs + is_k] += of_factor;
        }
        for (int64_t j = 0; j < num_pairs; ++j) {
            sums[j] += direction * of_angle[j] * double(source.position(b, t, j));
        }
    }
}

}  // namespace

namespace ROPESCALE_ISA {

void scaling_grad_kernel(const RotaryQKParams& p, int64_t begin, int64_t end, double* sums) {
    switch (p.dtype) {
        case ROPESCALE_FLOAT32:
            return add_tokens<float>(p, begin, end, sums);
        case ROPESCALE_FLOAT16:
            return add_tokens<Half>(p, begin, end, sums);
        case ROPESCALE_BFLOAT16:
            return add_tokens<BFloat16>(p, begin, end, sums);
    }
}

}  // namespace ROPESCALE_ISA
}  // namespace ropescale
