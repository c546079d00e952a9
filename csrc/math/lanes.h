// The vocabulary of the math core: one lane here, many lanes in csrc/kernels/lanes_*.h.
//
// Every function of csrc/math is a template over a Lanes class, so that one source gives the scalar
// code of a CUDA thread and the vector code of a CPU. Each operation below is exact or rounded once
// to nearest even, which is why every width gives the same bits. Build with contraction off.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__)
#define ROPESCALE_HD __host__ __device__ __forceinline__
#else
#define ROPESCALE_HD inline __attribute__((always_inline))
#endif

namespace ropescale {

struct ScalarLanes {
    using F = float;
    using U = uint32_t;
    using W = uint64_t;
    using M = bool;
    static constexpr int kWidth = 1;

    static ROPESCALE_HD F splat(float x) { return x; }
    static ROPESCALE_HD U splat(uint32_t x) { return x; }
    static ROPESCALE_HD F fma(F a, F b, F c) { return fmaf(a, b, c); }
    static ROPESCALE_HD U mul_high(U a, U b) { return U((uint64_t(a) * b) >> 32); }
    static ROPESCALE_HD F to_float(U two_complement) { return float(int32_t(two_complement)); }
    static ROPESCALE_HD F as_float(U x) {
        F y;
        memcpy(&y, &x, sizeof(y));
        return y;
    }
    static ROPESCALE_HD U as_uint(F x) {
        U y;
        memcpy(&y, &x, sizeof(y));
        return y;
    }
    static ROPESCALE_HD M any_bit(U x, uint32_t bits) { return (x & bits) != 0; }
    static ROPESCALE_HD M equal(U x, uint32_t y) { return x == y; }
    static ROPESCALE_HD F select(M m, F yes, F no) { return m ? yes : no; }
    static ROPESCALE_HD W widen(U x) { return x; }
    static ROPESCALE_HD U low_word(W x) { return U(x); }
    static ROPESCALE_HD U high_word(W x) { return U(x >> 32); }
    // Shifts by 64 or more give 0 (as the vector instructions and PTX do, and C++ does not).
    static ROPESCALE_HD W shift_left(W x, W count) { return count < 64 ? x << count : 0; }
    static ROPESCALE_HD W shift_right(W x, W count) { return count < 64 ? x >> count : 0; }
    static ROPESCALE_HD W splat(uint64_t x) { return x; }
    static ROPESCALE_HD W mul_low_words(W a, W b) { return uint64_t(uint32_t(a)) * uint32_t(b); }

    static ROPESCALE_HD F load(const float* p) { return *p; }
    static ROPESCALE_HD U load(const uint32_t* p) { return *p; }
    static ROPESCALE_HD void store(float* p, F x) { *p = x; }
    static ROPESCALE_HD void store(uint32_t* p, U x) { *p = x; }
};

}  // namespace ropescale
