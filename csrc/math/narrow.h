// float16 and bfloat16 as raw words: exact widening, and one rounding to nearest even on the way
// back, in integer arithmetic, so that no control register and no compiler option can change it.
#pragma once

#include "lanes.h"

namespace ropescale {

struct Half {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

ROPESCALE_HD float widen_word(BFloat16 x) { return ScalarLanes::as_float(uint32_t(x.bits) << 16); }

ROPESCALE_HD float widen_word(Half x) {
    const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16;
    const uint32_t magnitude = x.bits & 0x7fffu;
    if (magnitude >= 0x7c00u) {  // infinity or NaN
        return ScalarLanes::as_float(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    }
    if (magnitude >= 0x0400u) {
        return ScalarLanes::as_float(sign | ((magnitude << 13) + 0x38000000u));
    }
    return ScalarLanes::as_float(sign | ScalarLanes::as_uint(float(int32_t(magnitude)) * 0x1p-24f));
}

template <class T>
ROPESCALE_HD T narrow(float x);

template <>
ROPESCALE_HD BFloat16 narrow<BFloat16>(float x) {
    const uint32_t u = ScalarLanes::as_uint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {uint16_t(0x7fc0u)};
    return {uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

template <>
ROPESCALE_HD Half narrow<Half>(float x) {
    const uint32_t word = ScalarLanes::as_uint(x);
    const uint32_t sign = (word >> 16) & 0x8000u;
    const uint32_t u = word & 0x7fffffffu;
    uint32_t rounded;
    if (u > 0x7f800000u) {
        rounded = 0x7e00u;
    } else if (u >= 0x47800000u) {  // 65536 and above
        rounded = 0x7c00u;
    } else if (u >= 0x38800000u) {  // 2^-14 and above: a carry out of the mantissa is the next
        rounded = (u - 0x38000000u + 0xfffu + ((u >> 13) & 1u)) >> 13;  // exponent, or infinity
    } else if (u < 0x33000000u) {  // below half of the smallest subnormal number
        rounded = 0;
    } else {
        const uint32_t shift = 126 - (u >> 23);
        const uint32_t mantissa = (u & 0x7fffffu) | 0x800000u;
        const uint32_t kept = mantissa >> shift;
        const uint32_t rest = mantissa & ((1u << shift) - 1);
        const uint32_t tie = 1u << (shift - 1);
        rounded = kept + (rest > tie || (rest == tie && (kept & 1u)) ? 1 : 0);
    }
    return {uint16_t(sign | rounded)};
}

}  // namespace ropescale
