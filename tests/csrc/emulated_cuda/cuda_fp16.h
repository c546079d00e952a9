// Conversions of float16 on the host. They use the compiler's _Float16, not csrc/math.
#pragma once

#include <stdint.h>
#include <string.h>

struct __half {
    _Float16 value;
};
inline __half __ushort_as_half(uint16_t bits) {
    __half x;
    memcpy(&x, &bits, sizeof(bits));
    return x;
}
inline uint16_t __half_as_ushort(__half x) {
    uint16_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}
inline float __half2float(__half x) { return float(x.value); }
inline __half __float2half_rn(float x) { return {_Float16(x)}; }
