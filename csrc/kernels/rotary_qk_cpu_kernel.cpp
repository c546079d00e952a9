// The rotary kernel of the CPU: rotates q and k of a range of tokens. Compiled once per instruction
// set; launched by rotary_qk_cpu.cpp.
#include "../math/rotate.h"
#include "cos_sin_cpu.h"
#include "isa.h"
#include "rotary_qk_cpu.h"

namespace ropescale {
namespace {

// One row: head_dim channels of one head of one token. `in` may be `out`.
template <class T, bool kInterleaved>
ROPESCALE_HD void rotate_row(const T* in, T* out, const float* cos, const float* sin,
                             int64_t num_pairs, int64_t head_dim) {
    RowLanes<T, kInterleaved>::for_each(num_pairs, [&](auto lanes, int64_t j) {
        using L = decltype(lanes);
        typename L::F x0, x1;
        if constexpr (kInterleaved) {
            L::load_pairs(in + 2 * j, x0, x1);
        } else {
            x0 = L::load(in + j);
            x1 = L::load(in + num_pairs + j);
        }
        rotate_pair<L>(x0, x1, L::load(cos + j), L::load(sin + j));
        if constexpr (kInterleaved) {
            L::store_pairs(out + 2 * j, x0, x1);
        } else {
            L::store(out + j, x0);
            L::store(out + num_pairs + j, x1);
        }
    });
    const int64_t rotary_dim = 2 * num_pairs;
    if (in != out && rotary_dim < head_dim) {
        memcpy(out + rotary_dim, in + rotary_dim, size_t(head_dim - rotary_dim) * sizeof(T));
    }
}

// Puts the cosines and sines of row i into the order in which rotate_row takes them.
template <class T, bool kInterleaved>
void arrange_row(CosSinBlock& block, int64_t i, int64_t num_pairs) {
    RowLanes<T, kInterleaved>::for_each(num_pairs, [&](auto lanes, int64_t j) {
        using L = decltype(lanes);
        if constexpr (kIsSplit<L>) {
            const int64_t at = i * num_pairs + j;
            L::arrange(block.cos_q + at);
            L::arrange(block.sin_q + at);
            if (block.k_has_own[i]) {
                L::arrange(block.cos_k + at);
                L::arrange(block.sin_k + at);
            }
        }
    });
}

struct Token {
    int64_t batch, index;
};

template <class T, bool kInterleaved>
void rotate_heads(const HeadsParams& heads, const RotaryQKParams& p, const Token* tokens,
                  int64_t num_tokens, const CosSinBlock& block, bool is_k) {
    const int64_t num_pairs = p.rotary_dim / 2, head_dim = p.head_dim;
    const T* in[CosSinBlock::kTokens];
    T* out[CosSinBlock::kTokens];
    const float *cos[CosSinBlock::kTokens], *sin[CosSinBlock::kTokens];
    for (int64_t i = 0; i < num_tokens; ++i) {
        const Token& token = tokens[i];
        in[i] = static_cast<const T*>(heads.in) + token.batch * heads.in_stride_batch +
                token.index * heads.in_stride_token;
        out[i] = static_cast<T*>(heads.out) + token.batch * heads.out_stride_batch +
                 token.index * heads.out_stride_token;
        const bool own = is_k && block.k_has_own[i];
        cos[i] = (own ? block.cos_k : block.cos_q) + i * num_pairs;
        sin[i] = (own ? block.sin_k : block.sin_q) + i * num_pairs;
    }
    auto rotate = [&](int64_t i, int64_t h) __attribute__((always_inline)) {
        rotate_row<T, kInterleaved>(in[i] + h * heads.in_stride_head,
                                    out[i] + h * heads.out_stride_head, cos[i], sin[i], num_pairs,
                                    head_dim);
    };
    // Walk memory forwards: in a (batch, nheads, seqlen, head_dim) buffer a head's tokens lie
    // together.
    if (heads.in_stride_head > heads.in_stride_token) {
        for (int64_t h = 0; h < heads.nheads; ++h) {
            for (int64_t i = 0; i < num_tokens; ++i) rotate(i, h);
        }
    } else {
        for (int64_t i = 0; i < num_tokens; ++i) {
            for (int64_t h = 0; h < heads.nheads; ++h) rotate(i, h);
        }
    }
}

template <class T, bool kInterleaved>
void rotate_tokens(const RotaryQKParams& p, int64_t begin, int64_t end) {
    CosSinBlock block;
    CosSinSource source(p);
    Token tokens[CosSinBlock::kTokens];
    for (int64_t first = begin; first < end; first += CosSinBlock::kTokens) {
        const int64_t left = end - first;
        const int64_t count = left < CosSinBlock::kTokens ? left : CosSinBlock::kTokens;
        for (int64_t i = 0; i < count; ++i) {
            tokens[i] = {(first + i) / p.seqlen, (first + i) % p.seqlen};
            source.fill(block, i, tokens[i].batch, tokens[i].index);
            arrange_row<T, kInterleaved>(block, i, p.rotary_dim / 2);
        }
        rotate_heads<T, kInterleaved>(p.q, p, tokens, count, block, false);
        if (p.k.in) rotate_heads<T, kInterleaved>(p.k, p, tokens, count, block, true);
    }
}

template <class T>
void rotate_pairing(const RotaryQKParams& p, int64_t begin, int64_t end) {
    p.interleaved ? rotate_tokens<T, true>(p, begin, end) : rotate_tokens<T, false>(p, begin, end);
}

}  // namespace

namespace ROPESCALE_ISA {

void rotary_qk_kernel(const RotaryQKParams& p, int64_t begin, int64_t end) {
    switch (p.dtype) {
        case ROPESCALE_FLOAT32:
            return rotate_pairing<float>(p, begin, end);
        case ROPESCALE_FLOAT16:
            return rotate_pairing<Half>(p, begin, end);
        case ROPESCALE_BFLOAT16:
            return rotate_pairing<BFloat16>(p, begin, end);
    }
}

}  // namespace ROPESCALE_ISA
}  // namespace ropescale
