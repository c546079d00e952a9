// What one call of the rotary kernels is told: raw pointers, sizes, strides. Shared by every
// device.
#pragma once

#include <stdint.h>

namespace ropescale {

enum class DType : int32_t { kFloat32, kFloat16, kBFloat16 };

// One of q and k: (batch, seqlen, nheads, head_dim), the last stride 1, strides in elements.
struct HeadsParams {
    const void* in = nullptr;  // null: there is no k
    void* out = nullptr;       // equal to `in` when in place
    int64_t nheads = 0;
    int64_t in_stride_batch = 0, in_stride_token = 0, in_stride_head = 0;
    int64_t out_stride_batch = 0, out_stride_token = 0, out_stride_head = 0;
};

// Positions or row indices: int32 (sign-extended) or int64.
struct IndexParams {
    const void* data = nullptr;
    bool is_int64 = false;
    int64_t stride_axis = 0, stride_batch = 0, stride_token = 0;  // in elements
};

// The rotary table: cos and sin come from phases. Float32 values travel as their bits.
struct TableParams {
    const uint32_t* steps = nullptr;  // (num_profiles, rotary_dim / 2, 2): lo, hi of turns * 2^64
    const uint32_t* inv_freq = nullptr;  // (num_profiles, rotary_dim / 2), radians per token
    const uint32_t* factors = nullptr;   // (num_profiles, 2): multiplier for q, for k
    const int32_t* axis_ids = nullptr;   // (rotary_dim / 2,): position axis of each pair; or null
    // A dynamic table's blend, or null. A profile whose scale is 0 uses its steps instead.
    const uint32_t* pos_freqs = nullptr;  // (num_profiles, rotary_dim / 2)
    const uint32_t* ramp = nullptr;       // (num_profiles, rotary_dim / 2)
    const uint32_t* scales = nullptr;     // (num_profiles,): YaRN's factor
    int64_t num_profiles = 0;
    IndexParams position_ids;
    const int32_t* profile_ids = nullptr;  // or null: profile 0
    int64_t profile_stride_batch = 0, profile_stride_token = 0;
    bool phase_float32 = false;
};

// The caller's own cos and sin, rows of at least rotary_dim / 2, the last stride 1.
struct CosSinParams {
    const void* cos = nullptr;  // null: the table is the source
    const void* sin = nullptr;
    DType dtype = DType::kFloat32;
    int64_t cos_stride_batch = 0, cos_stride_token = 0;
    int64_t sin_stride_batch = 0, sin_stride_token = 0;
    IndexParams rows;      // rows.data null: one row per token; else a row index (stride_token)
    int64_t num_rows = 0;  // a row index outside [0, num_rows) gives NaN
};

struct RotaryQKParams {
    DType dtype = DType::kFloat32;
    int64_t batch = 0, seqlen = 0, head_dim = 0, rotary_dim = 0;
    HeadsParams q, k;
    TableParams table;
    CosSinParams cos_sin;
    bool interleaved = false;
    bool conjugate = false;
};

constexpr int64_t kMaxHeadDim = 512;

}  // namespace ropescale
