// Eight lanes with AVX2, FMA and F16C.
#pragma once

#include <immintrin.h>

#include "../math/lanes.h"
#include "../math/narrow.h"

namespace ropescale {
namespace {

struct Avx2Lanes {
    typedef float F __attribute__((vector_size(32)));
    typedef uint32_t U __attribute__((vector_size(32)));
    typedef int32_t M __attribute__((vector_size(32)));
    typedef uint64_t W __attribute__((vector_size(64)));
    static constexpr int kWidth = 8;

    static ROPESCALE_HD F splat(float x) { return F(_mm256_set1_ps(x)); }
    static ROPESCALE_HD U splat(uint32_t x) { return U(_mm256_set1_epi32(int32_t(x))); }
    static ROPESCALE_HD F fma(F a, F b, F c) { return F(_mm256_fmadd_ps(a, b, c)); }
    static ROPESCALE_HD U mul_high(U a, U b) {
        const __m256i x = __m256i(a), y = __m256i(b);
        const __m256i even = _mm256_mul_epu32(x, y);
        const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(y, 32));
        return U(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa));
    }
    static ROPESCALE_HD F to_float(U x) { return F(_mm256_cvtepi32_ps(__m256i(x))); }
    static ROPESCALE_HD F as_float(U x) { return F(x); }
    static ROPESCALE_HD U as_uint(F x) { return U(x); }
    static ROPESCALE_HD M any_bit(U x, uint32_t bits) { return (x & bits) != 0; }
    static ROPESCALE_HD M equal(U x, uint32_t y) { return x == y; }
    static ROPESCALE_HD F select(M m, F yes, F no) {
        return F(_mm256_blendv_ps(no, yes, _mm256_castsi256_ps(__m256i(m))));
    }

    static ROPESCALE_HD W splat(uint64_t x) { return W{x, x, x, x, x, x, x, x}; }
    static ROPESCALE_HD W widen(U x) { return __builtin_convertvector(x, W); }
    static ROPESCALE_HD U low_word(W x) { return __builtin_convertvector(x, U); }
    static ROPESCALE_HD U high_word(W x) { return __builtin_convertvector(x >> 32, U); }
    template <class Op>
    static ROPESCALE_HD W halves(W a, W b, Op op) {
        __m256i x[2], y[2];
        memcpy(x, &a, sizeof(a));
        memcpy(y, &b, sizeof(b));
        x[0] = op(x[0], y[0]);
        x[1] = op(x[1], y[1]);
        W result;
        memcpy(&result, x, sizeof(result));
        return result;
    }
    static ROPESCALE_HD W shift_left(W x, W n) {
        return halves(x, n, [](__m256i a, __m256i b) { return _mm256_sllv_epi64(a, b); });
    }
    static ROPESCALE_HD W shift_right(W x, W n) {
        return halves(x, n, [](__m256i a, __m256i b) { return _mm256_srlv_epi64(a, b); });
    }
    static ROPESCALE_HD W mul_low_words(W x, W y) {
        return halves(x, y, [](__m256i a, __m256i b) { return _mm256_mul_epu32(a, b); });
    }

    static ROPESCALE_HD F load(const float* p) { return F(_mm256_loadu_ps(p)); }
    static ROPESCALE_HD U load(const uint32_t* p) {
        return U(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    static ROPESCALE_HD void store(float* p, F x) { _mm256_storeu_ps(p, x); }
    static ROPESCALE_HD void store(uint32_t* p, U x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), __m256i(x));
    }

    static ROPESCALE_HD __m128i load_words(const void* p) {
        return _mm_loadu_si128(static_cast<const __m128i*>(p));
    }
    static ROPESCALE_HD F load(const BFloat16* p) {
        return F(U(_mm256_cvtepu16_epi32(load_words(p))) << 16);
    }
    static ROPESCALE_HD F load(const Half* p) { return F(_mm256_cvtph_ps(load_words(p))); }

    // bfloat16 in the high half of each lane, anything in the low half; not for NaN.
    static ROPESCALE_HD U round_bits(F x) {
        const U u = U(x);
        return u + 0x7fffu + ((u >> 16) & 1u);
    }
    static ROPESCALE_HD U quiet_nan(F x, U rounded) {
        return U(select(M(x != x), F(splat(0x7fc00000u)), F(rounded)));
    }
    // One compare for two registers, and a branch that is all but never taken.
    static ROPESCALE_HD bool any_nan(F x, F y) {
        return __builtin_expect(_mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_UNORD_Q)) != 0, 0);
    }
    // float16 in the low half of each lane. MXCSR is round to nearest here; the control bit in the
    // instruction says so again.
    static ROPESCALE_HD U round_to_half(F x) {
        return U(_mm256_cvtepu16_epi32(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT)));
    }
    static ROPESCALE_HD void store(BFloat16* p, F x) {
        U rounded = round_bits(x);
        if (any_nan(x, x)) rounded = quiet_nan(x, rounded);
        const __m256i words = __m256i(rounded >> 16);
        const __m128i packed =
            _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
    }
    static ROPESCALE_HD void store(Half* p, F x) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                         _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }

    // Interleaved pairs: x0 takes elements 0, 2, 4, ...; x1 takes 1, 3, 5, ...
    static ROPESCALE_HD void load_pairs(const float* p, F& x0, F& x1) {
        const F a = load(p), b = load(p + 8);
        const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
        const __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
        x0 = F(_mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8)));
        x1 = F(_mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8)));
    }
    static ROPESCALE_HD void store_pairs(float* p, F x0, F x1) {
        const __m256 low = _mm256_unpacklo_ps(x0, x1);
        const __m256 high = _mm256_unpackhi_ps(x0, x1);
        store(p, F(_mm256_permute2f128_ps(low, high, 0x20)));
        store(p + 8, F(_mm256_permute2f128_ps(low, high, 0x31)));
    }
    static ROPESCALE_HD U load_pair_words(const void* p) {
        return load(static_cast<const uint32_t*>(p));
    }
    static ROPESCALE_HD void load_pairs(const BFloat16* p, F& x0, F& x1) {
        const U both = load_pair_words(p);
        x0 = F(both << 16);
        x1 = F(both & 0xffff0000u);
    }
    static ROPESCALE_HD void store_pairs(BFloat16* p, F x0, F x1) {
        U low = round_bits(x0), high = round_bits(x1);
        if (any_nan(x0, x1)) {
            low = quiet_nan(x0, low);
            high = quiet_nan(x1, high);
        }
        store(reinterpret_cast<uint32_t*>(p), (high & 0xffff0000u) | (low >> 16));
    }
    static ROPESCALE_HD F widen_half_words(U words) {
        const __m256i low = __m256i(words & 0xffffu);
        return F(_mm256_cvtph_ps(
            _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1))));
    }
    static ROPESCALE_HD void load_pairs(const Half* p, F& x0, F& x1) {
        const U both = load_pair_words(p);
        x0 = widen_half_words(both);
        x1 = widen_half_words(both >> 16);
    }
    static ROPESCALE_HD void store_pairs(Half* p, F x0, F x1) {
        store(reinterpret_cast<uint32_t*>(p), (round_to_half(x1) << 16) | round_to_half(x0));
    }
};

}  // namespace
}  // namespace ropescale
