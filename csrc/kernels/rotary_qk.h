// What one call of the rotary kernels is told, shared by every device: the structs of the C header,
// by the names that C++ code uses.
#pragma once

#include "../include/ropescale.h"
#include "../math/lanes.h"

namespace ropescale {

using DType = ropescale_dtype;
using HeadsParams = ropescale_heads;
using IndexParams = ropescale_index;
using TableParams = ropescale_table;
using CosSinParams = ropescale_cos_sin;
using RotaryQKParams = ropescale_rotary_qk_params;

constexpr int64_t kMaxHeadDim = ROPESCALE_MAX_HEAD_DIM;

// In bytes.
inline int64_t element_size(DType dtype) { return dtype == ROPESCALE_FLOAT32 ? 4 : 2; }

ROPESCALE_HD int64_t read_index(const IndexParams& index, int64_t offset) {
    return index.is_int64 ? static_cast<const int64_t*>(index.data)[offset]
                          : int64_t(static_cast<const int32_t*>(index.data)[offset]);
}

}  // namespace ropescale
