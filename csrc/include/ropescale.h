/* The kernels without Python: what one call is told, and the functions that take it.
 *
 * Plain C. Strides are in elements, pointers are of the device that runs the call. A zeroed struct
 * is a valid start: a null pointer or a zero stands for what a call does without. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#if defined(_WIN32)
#define ROPESCALE_API
#else
#define ROPESCALE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define ROPESCALE_MAX_HEAD_DIM 512

typedef enum ropescale_dtype {
    ROPESCALE_FLOAT32,
    ROPESCALE_FLOAT16,
    ROPESCALE_BFLOAT16
} ropescale_dtype;

/* One of q and k: (batch, seqlen, nheads, head_dim), the last stride 1. */
typedef struct ropescale_heads {
    const void* in; /* null: there is no k */
    void* out;      /* equal to `in` when in place */
    int64_t nheads;
    int64_t in_stride_batch, in_stride_token, in_stride_head;
    int64_t out_stride_batch, out_stride_token, out_stride_head;
} ropescale_heads;

/* Positions or row indices: int32 (sign-extended) or int64. */
typedef struct ropescale_index {
    const void* data;
    bool is_int64;
    int64_t stride_axis, stride_batch, stride_token;
} ropescale_index;

/* The rotary table: cos and sin come from phases. Float32 values travel as their bits. */
typedef struct ropescale_table {
    const uint32_t* steps; /* (num_profiles, rotary_dim / 2, 2): lo, hi of turns * 2^64 */
    const uint32_t*
        inv_freq; /* (num_profiles, rotary_dim / 2), radians per token; or null with exact phases */
    const uint32_t* factors; /* (num_profiles, 2): multiplier for q, for k */
    const int32_t* axis_ids; /* (rotary_dim / 2,): position axis of each pair; or null */
    /* A dynamic table's blend, or null. A profile whose scale is 0 uses its steps instead. */
    const uint32_t* pos_freqs; /* (num_profiles, rotary_dim / 2) */
    const uint32_t* ramp;      /* (num_profiles, rotary_dim / 2) */
    const uint32_t* scales;    /* (num_profiles,): YaRN's factor */
    int64_t num_profiles;
    ropescale_index position_ids;
    const int32_t* profile_ids; /* or null: profile 0; out of range gives NaN */
    int64_t profile_stride_batch, profile_stride_token;
    bool phase_float32; /* round the angle to float32, as table-based engines do */
} ropescale_table;

/* The caller's own cos and sin: rows of at least rotary_dim / 2 values, one a pair. */
typedef struct ropescale_cos_sin {
    const void* cos; /* null: the table is the source */
    const void* sin;
    ropescale_dtype dtype;
    int64_t cos_stride_batch, cos_stride_token;
    int64_t sin_stride_batch, sin_stride_token;
    ropescale_index rows; /* data null: one row per token; else a row index (stride_token) */
    int64_t num_rows;     /* a row index outside [0, num_rows) gives NaN */
    /* False: the values of a row are neighbours. True: the value of a pair is at
     * axis_ids[pair] * stride_axis + pair * stride_pair of its row. */
    bool is_strided;
    int64_t cos_stride_axis, cos_stride_pair;
    int64_t sin_stride_axis, sin_stride_pair;
    uint8_t axis_ids[ROPESCALE_MAX_HEAD_DIM / 2]; /* M-RoPE axis of each pair */
} ropescale_cos_sin;

typedef struct ropescale_rotary_qk_params {
    ropescale_dtype dtype;
    int64_t batch, seqlen, head_dim, rotary_dim;
    ropescale_heads q, k;
    ropescale_table table;
    ropescale_cos_sin cos_sin;
    bool interleaved; /* pairs (2j, 2j+1), else (j, j + rotary_dim / 2) */
    bool conjugate;   /* rotate backwards: the adjoint */
} ropescale_rotary_qk_params;

/* The functions below give 0, or -1 with the reason in ropescale_last_error(). They check sizes and
 * null pointers, not what pointers point to. */

/* Words for this thread's last failure: "<argument>: expected ..., got ...", or CUDA's error. */
ROPESCALE_API const char* ropescale_last_error(void);

/* Rotates on the CPU, with the widest instruction set of this processor. */
ROPESCALE_API int ropescale_rotary_qk_cpu(const ropescale_rotary_qk_params* params,
                                          int num_threads);

/* Rotates on a CUDA device: launches one kernel on `stream` (a cudaStream_t) and returns. The
 * calling thread's current device is left as it was. `pdl` lets the launch overlap the end of the
 * kernel before it (programmatic dependent launch, compute capability 9.0 and above). */
ROPESCALE_API int ropescale_rotary_qk_cuda(const ropescale_rotary_qk_params* params, int device,
                                           void* stream, bool pdl);

/* Null where the CUDA kernels run on `device`, else why not (no such build, driver, device...). */
ROPESCALE_API const char* ropescale_cuda_unavailable(int device);

/* Fills steps, (count, 2), from inv_freq in radians per token: host memory, exact. */
ROPESCALE_API int ropescale_fill_steps(const float* inv_freq, int64_t count, uint32_t* steps);

#ifdef __cplusplus
}
#endif
