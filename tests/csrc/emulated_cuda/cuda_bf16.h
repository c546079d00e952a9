// Conversions of bfloat16 on the host. Double arithmetic is exact here and shares no code with
// csrc/math.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

struct __nv_bfloat16 {
    uint16_t bits;
};
inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }

inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    if (isnan(x)) return {0x7fff};
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    const auto value = [](uint32_t upper) {
        const uint32_t word = upper << 16;
        float y;
        memcpy(&y, &word, sizeof(y));
        return double(y);
    };
    // The two bfloat16 neighbours of x. Above the largest finite value, 2^128 stands for infinity.
    const uint32_t below = bits >> 16, above = below + 1;
    if (isinf(x)) return {uint16_t(below)};
    const double low = value(below),
                 high = isinf(value(above)) ? copysign(0x1p128, x) : value(above);
    const double to_low = fabs(double(x) - low), to_high = fabs(high - double(x));
    if (to_low == to_high) return {uint16_t(below & 1 ? above : below)};
    return {uint16_t(to_low < to_high ? below : above)};
}
