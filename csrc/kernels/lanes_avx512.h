// Sixteen lanes with AVX-512 F, BW, DQ and VL.
#pragma once

#include <immintrin.h>

#include "../math/lanes.h"
#include "../math/narrow.h"

namespace ropescale {
namespace {

struct Avx512Lanes {
    typedef float F __attribute__((vector_size(64)));
    typedef uint32_t U __attribute__((vector_size(64)));
    using M = __mmask16;
    static constexpr int kWidth = 16;

    static ROPESCALE_HD F splat(float x) { return F(_mm512_set1_ps(x)); }
    static ROPESCALE_HD U splat(uint32_t x) { return U(_mm512_set1_epi32(int32_t(x))); }
    static ROPESCALE_HD F fma(F a, F b, F c) { return F(_mm512_fmadd_ps(a, b, c)); }
    static ROPESCALE_HD U mul_high(U a, U b) {
        const __m512i x = __m512i(a), y = __m512i(b);
        const __m512i even = _mm512_mul_epu32(x, y);
        const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(y, 32));
        return U(_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd));
    }
    static ROPESCALE_HD F to_float(U x) { return F(_mm512_cvtepi32_ps(__m512i(x))); }
    static ROPESCALE_HD F as_float(U x) { return F(x); }
    static ROPESCALE_HD U as_uint(F x) { return U(x); }
    static ROPESCALE_HD M any_bit(U x, uint32_t bits) {
        return _mm512_test_epi32_mask(__m512i(x), __m512i(splat(bits)));
    }
    static ROPESCALE_HD F select(M m, F yes, F no) { return F(_mm512_mask_blend_ps(m, no, yes)); }

    static ROPESCALE_HD F load(const float* p) { return F(_mm512_loadu_ps(p)); }
    static ROPESCALE_HD U load(const uint32_t* p) { return U(_mm512_loadu_si512(p)); }
    static ROPESCALE_HD void store(float* p, F x) { _mm512_storeu_ps(p, x); }
    static ROPESCALE_HD void store(uint32_t* p, U x) { _mm512_storeu_si512(p, __m512i(x)); }

    static ROPESCALE_HD __m256i load_words(const void* p) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(p));
    }
    static ROPESCALE_HD F load(const BFloat16* p) {
        return F(U(_mm512_cvtepu16_epi32(load_words(p))) << 16);
    }
    static ROPESCALE_HD F load(const Half* p) { return F(_mm512_cvtph_ps(load_words(p))); }

    // bfloat16 in the high half of each lane, anything in the low half; not for NaN. By integers:
    // the bfloat16 instructions of AVX-512 flush denormals.
    static ROPESCALE_HD __m512i round_bits(F x) {
        const __m512i u = __m512i(x);
        const M odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000));
        const __m512i up = _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff));
        return _mm512_mask_add_epi32(up, odd, up, _mm512_set1_epi32(1));
    }
    static ROPESCALE_HD __m512i quiet_nan(F x, __m512i rounded) {
        return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded,
                                       _mm512_set1_epi32(0x7fc00000));
    }
    // One compare for two registers, and a branch that is all but never taken.
    static ROPESCALE_HD bool any_nan(F x, F y) {
        return __builtin_expect(_mm512_cmp_ps_mask(x, y, _CMP_UNORD_Q) != 0, 0);
    }
    static ROPESCALE_HD __m256i round_to_half(F x) {
        return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    }
    static ROPESCALE_HD void store(BFloat16* p, F x) {
        __m512i rounded = round_bits(x);
        if (any_nan(x, x)) rounded = quiet_nan(x, rounded);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
    }
    static ROPESCALE_HD void store(Half* p, F x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_to_half(x));
    }

    // Interleaved pairs: x0 takes elements 0, 2, 4, ...; x1 takes 1, 3, 5, ...
    static ROPESCALE_HD void load_pairs(const float* p, F& x0, F& x1) {
        const __m512i even =
            _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
        const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
        const F a = load(p), b = load(p + 16);
        x0 = F(_mm512_permutex2var_ps(a, even, b));
        x1 = F(_mm512_permutex2var_ps(a, odd, b));
    }
    static ROPESCALE_HD void store_pairs(float* p, F x0, F x1) {
        const __m512i low =
            _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        store(p, F(_mm512_permutex2var_ps(x0, low, x1)));
        store(p + 16, F(_mm512_permutex2var_ps(x0, high, x1)));
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
        __m512i low = round_bits(x0), high = round_bits(x1);
        if (any_nan(x0, x1)) {
            low = quiet_nan(x0, low);
            high = quiet_nan(x1, high);
        }
        // The high halves of `high`, and those of `low` below them.
        const __m512i both = _mm512_ternarylogic_epi32(_mm512_set1_epi32(int32_t(0xffff0000)), high,
                                                       _mm512_srli_epi32(low, 16), 0xca);
        _mm512_storeu_si512(p, both);
    }
    static ROPESCALE_HD void load_pairs(const Half* p, F& x0, F& x1) {
        const __m512i both = __m512i(load_pair_words(p));
        x0 = F(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(both)));
        x1 = F(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16))));
    }
    static ROPESCALE_HD void store_pairs(Half* p, F x0, F x1) {
        const U low = U(_mm512_cvtepu16_epi32(round_to_half(x0)));
        const U high = U(_mm512_cvtepu16_epi32(round_to_half(x1)));
        store(reinterpret_cast<uint32_t*>(p), (high << 16) | low);
    }
};

}  // namespace
}  // namespace ropescale
