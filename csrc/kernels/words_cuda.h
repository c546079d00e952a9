// Elements of q and k as a CUDA thread holds them: widened to float32, narrowed with one rounding,
// by the device's own conversions, which flush nothing.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "../math/narrow.h"

namespace ropescale {
namespace cuda {

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ float widen(BFloat16 x) { return widen_word(x); }

template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ Half narrow<Half>(float x) {
    return {__half_as_ushort(__float2half_rn(x))};
}
template <>
__device__ __forceinline__ BFloat16 narrow<BFloat16>(float x) {
    return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}

// 16 bytes: as many elements as one load or store instruction moves.
template <class T>
struct Vector {
    static constexpr int kElements = 16 / sizeof(T);
    uint4 words;

    __device__ __forceinline__ void unpack(float (&x)[kElements]) const {
        const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if constexpr (sizeof(T) == 4) {
                x[i] = ScalarLanes::as_float(word[i]);
            } else {
                x[2 * i] = widen(T{uint16_t(word[i])});
                x[2 * i + 1] = widen(T{uint16_t(word[i] >> 16)});
            }
        }
    }

    __device__ __forceinline__ void pack(const float (&x)[kElements]) {
        uint32_t word[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if constexpr (sizeof(T) == 4) {
                word[i] = ScalarLanes::as_uint(x[i]);
            } else {
                word[i] = uint32_t(narrow<T>(x[2 * i]).bits) |
                          uint32_t(narrow<T>(x[2 * i + 1]).bits) << 16;
            }
        }
        words = {word[0], word[1], word[2], word[3]};
    }
};

}  // namespace cuda
}  // namespace ropescale
