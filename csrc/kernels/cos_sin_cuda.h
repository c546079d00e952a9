// The cosines and sines of a CUDA thread's pairs, in registers: from the table's phases, or from
// the caller's rows. Computed once a token and used for all its heads.
#pragma once

#include "../math/blend.h"
#include "../math/phase.h"
#include "../math/sincos.h"
#include "rotary_qk.h"
#include "words_cuda.h"

namespace ropescale {
namespace cuda {

struct TokenIndex {
    int64_t batch, token;
};

__device__ __forceinline__ TokenIndex token_index(const RotaryQKParams& p, int64_t token) {
    // Dividing 64 bits takes several times as long as 32.
    if (p.batch * p.seqlen <= 0x7fffffff) {
        const uint32_t batch = uint32_t(token) / uint32_t(p.seqlen);
        return {int64_t(batch), int64_t(uint32_t(token) - batch * uint32_t(p.seqlen))};
    }
    return {token / p.seqlen, token % p.seqlen};
}

__device__ __forceinline__ int64_t position_on_axis(const IndexParams& index, TokenIndex at,
                                                    int64_t axis) {
    return read_index(index, at.batch * index.stride_batch + at.token * index.stride_token +
                                 axis * index.stride_axis);
}

__device__ __forceinline__ int64_t position_of_pair(const RotaryQKParams& p, TokenIndex at,
                                                    int pair) {
    const TableParams& table = p.table;
    return position_on_axis(table.position_ids, at, table.axis_ids ? table.axis_ids[pair] : 0);
}

template <int kPairs>
struct CosSin {
    float c[kPairs], s[kPairs];
    float factor_q, factor_k;

    // For a row that is not there; gives false.
    __device__ __forceinline__ bool fill_nan() {
#pragma unroll
        for (int i = 0; i < kPairs; ++i) c[i] = s[i] = ScalarLanes::as_float(0x7fc00000u);
        factor_q = factor_k = 1.0f;
        return false;
    }
};

// From the table to one pair's cosine and sine.
struct PairPhase {
    const RotaryQKParams& p;
    TokenIndex at;
    int64_t row;       // of the profile, in pairs
    uint32_t scale;    // of its blend, or 0
    int64_t position;  // where the pairs have no axes of their own

    __device__ __forceinline__ void cos_sin(int pair, float& c, float& s) const {
        using L = ScalarLanes;
        const TableParams& table = p.table;
        const int64_t x = table.axis_ids ? position_of_pair(p, at, pair) : position;
        const int64_t entry = row + pair;
        uint32_t lo, hi;
        float angle = 0.0f;
        if (scale || table.phase_float32) {
            const float inv_freq =
                scale ? blend_inv_freq<L>(L::as_float(table.pos_freqs[entry]),
                                          L::as_float(table.ramp[entry]), L::as_float(scale))
                      : L::as_float(table.inv_freq[entry]);
            angle = table.phase_float32 ? float(x) * inv_freq : inv_freq;
            const uint64_t turns = turns_from_float32<L>(angle);
            lo = L::low_word(turns);
            hi = L::high_word(turns);
        } else {
            lo = table.steps[2 * entry];
            hi = table.steps[2 * entry + 1];
        }
        const uint32_t phase =
            table.phase_float32
                ? hi
                : phase_of_position<L>(uint32_t(uint64_t(x)), uint32_t(uint64_t(x) >> 32), lo, hi);
        sincos_of_phase<L>(phase, s, c);
        if (table.phase_float32) {
            c = nan_unless_finite<L>(angle, c);
            s = nan_unless_finite<L>(angle, s);
        }
    }
};

template <class Piece>
__device__ __forceinline__ bool fill_from_table(const RotaryQKParams& p, TokenIndex at,
                                                const Piece& piece, CosSin<Piece::kPairs>& out) {
    const TableParams& table = p.table;
    int64_t profile = 0;
    if (table.profile_ids) {
        profile = table.profile_ids[at.batch * table.profile_stride_batch +
                                    at.token * table.profile_stride_token];
    }
    // No profiles at all: cos and sin of a caller who has no rows.
    if (profile < 0 || profile >= table.num_profiles) return out.fill_nan();
    const int num_pairs = int(p.rotary_dim / 2);
    const uint32_t scale = table.scales ? table.scales[profile] : 0;
    const int64_t shared = table.axis_ids ? 0 : position_on_axis(table.position_ids, at, 0);
    const PairPhase phase{p, at, profile * num_pairs, scale, shared};
#pragma unroll
    for (int i = 0; i < Piece::kPairs; ++i) {
        // Where the thread has fewer pairs, some other one's values, which nothing uses.
        phase.cos_sin(min(piece.pair(i), num_pairs - 1), out.c[i], out.s[i]);
    }
    out.factor_q = ScalarLanes::as_float(table.factors[2 * profile]);
    out.factor_k = ScalarLanes::as_float(table.factors[2 * profile + 1]);
    return true;
}

__device__ __forceinline__ float read_float(const void* data, DType dtype, int64_t offset) {
    if (dtype == ROPESCALE_FLOAT32) return static_cast<const float*>(data)[offset];
    if (dtype == ROPESCALE_FLOAT16) return widen(static_cast<const Half*>(data)[offset]);
    return widen(static_cast<const BFloat16*>(data)[offset]);
}

template <class Piece>
__device__ __forceinline__ bool fill_from_rows(const RotaryQKParams& p, TokenIndex at,
                                               const Piece& piece, CosSin<Piece::kPairs>& out) {
    const CosSinParams& source = p.cos_sin;
    if (source.rows.data) {
        at.token = read_index(
            source.rows, at.batch * source.rows.stride_batch + at.token * source.rows.stride_token);
        at.batch = 0;
        if (at.token < 0 || at.token >= source.num_rows) return out.fill_nan();
    }
    const int num_pairs = int(p.rotary_dim / 2);
    const int64_t cos_row = at.batch * source.cos_stride_batch + at.token * source.cos_stride_token;
    const int64_t sin_row = at.batch * source.sin_stride_batch + at.token * source.sin_stride_token;
    if (source.is_strided) {
#pragma unroll
        for (int i = 0; i < Piece::kPairs; ++i) {
            const int64_t pair = min(piece.pair(i), num_pairs - 1), axis = source.axis_ids[pair];
            const int64_t cos_at = axis * source.cos_stride_axis + pair * source.cos_stride_pair;
            const int64_t sin_at = axis * source.sin_stride_axis + pair * source.sin_stride_pair;
            out.c[i] = read_float(source.cos, source.dtype, cos_row + cos_at);
            out.s[i] = read_float(source.sin, source.dtype, sin_row + sin_at);
        }
    } else {
#pragma unroll
        for (int i = 0; i < Piece::kPairs; ++i) {
            const int pair = min(piece.pair(i), num_pairs - 1);
            out.c[i] = read_float(source.cos, source.dtype, cos_row + pair);
            out.s[i] = read_float(source.sin, source.dtype, sin_row + pair);
        }
    }
    out.factor_q = out.factor_k = 1.0f;
    return true;
}

// Unscaled: the factors of q and of k are still to be multiplied in. Gives false, and NaN, where
// the token asks for a profile or a row that is not there.
template <class Piece>
__device__ __forceinline__ bool fill_cos_sin(const RotaryQKParams& p, TokenIndex at,
                                             const Piece& piece, CosSin<Piece::kPairs>& out) {
    const bool found =
        p.cos_sin.cos ? fill_from_rows(p, at, piece, out) : fill_from_table(p, at, piece, out);
    const uint32_t sign = p.conjugate ? 0x80000000u : 0u;
#pragma unroll
    for (int i = 0; i < Piece::kPairs; ++i) {
        out.s[i] = ScalarLanes::as_float(ScalarLanes::as_uint(out.s[i]) ^ sign);
    }
    return found;
}

}  // namespace cuda
}  // namespace ropescale
