// One token's cosines and sines on the CPU: from the table's phases, or from the caller's rows.
#pragma once

#include "../math/blend.h"
#include "../math/phase.h"
#include "../math/sincos.h"
#include "isa.h"
#include "rotary_qk.h"

namespace ropescale {
namespace {

constexpr int64_t kMaxPairs = kMaxHeadDim / 2;

// The steps of one profile as the kernel wants them, kept until a token asks for another profile.
struct ProfileSteps {
    int64_t profile = -1;
    float factor_q = 1.0f, factor_k = 1.0f;
    alignas(64) uint32_t lo[kMaxPairs];
    alignas(64) uint32_t hi[kMaxPairs];
    alignas(64) float inv_freq[kMaxPairs];

    // Reads nothing where `profile` already is the wanted one.
    void select(const TableParams& table, int64_t num_pairs, int64_t wanted) {
        if (wanted == profile) return;
        profile = wanted;
        factor_q = ScalarLanes::as_float(table.factors[2 * wanted]);
        factor_k = ScalarLanes::as_float(table.factors[2 * wanted + 1]);
        const uint32_t scale = table.scales ? table.scales[wanted] : 0;
        const int64_t row = wanted * num_pairs;
        if (scale) {
            blend(table.pos_freqs + row, table.ramp + row, ScalarLanes::as_float(scale), num_pairs);
            return;
        }
        // Phases rounded to float32 alone need it.
        if (table.inv_freq) {
            memcpy(inv_freq, table.inv_freq + row, size_t(num_pairs) * sizeof(float));
        }
        for (int64_t j = 0; j < num_pairs; ++j) {
            lo[j] = table.steps[2 * (row + j)];
            hi[j] = table.steps[2 * (row + j) + 1];
        }
    }

  private:
    void blend(const uint32_t* pos_freqs, const uint32_t* ramp, float scale, int64_t num_pairs) {
        TurnLanes::for_each(num_pairs, [&](auto lanes, int64_t j) {
            using L = decltype(lanes);
            const auto blended = blend_inv_freq<L>(L::as_float(L::load(pos_freqs + j)),
                                                   L::as_float(L::load(ramp + j)), L::splat(scale));
            const auto turns = turns_from_float32<L>(blended);
            L::store(inv_freq + j, blended);
            L::store(lo + j, L::low_word(turns));
            L::store(hi + j, L::high_word(turns));
        });
    }
};

// Cosines and sines of a block of tokens, multiplied by the factors: (kTokens, num_pairs) each.
struct CosSinBlock {
    static constexpr int64_t kTokens = 16;
    bool k_has_own[kTokens];  // the factors of q and k differ
    alignas(64) float cos_q[kTokens * kMaxPairs], sin_q[kTokens * kMaxPairs];
    alignas(64) float cos_k[kTokens * kMaxPairs], sin_k[kTokens * kMaxPairs];
};

// The position of every pair of a token.
class SharedPosition {
  public:
    ROPESCALE_HD void set(int64_t position) {
        lo_ = uint32_t(uint64_t(position));
        hi_ = uint32_t(uint64_t(position) >> 32);
        rounded_ = float(position);
    }
    template <class L>
    ROPESCALE_HD typename L::U lo(int64_t) const {
        return L::splat(lo_);
    }
    template <class L>
    ROPESCALE_HD typename L::U hi(int64_t) const {
        return L::splat(hi_);
    }
    template <class L>
    ROPESCALE_HD typename L::F rounded(int64_t) const {
        return L::splat(rounded_);
    }

  private:
    uint32_t lo_, hi_;
    float rounded_;
};

// A position for each pair of a token (M-RoPE).
class AxisPositions {
  public:
    ROPESCALE_HD void set(int64_t pair, int64_t position) {
        lo_[pair] = uint32_t(uint64_t(position));
        hi_[pair] = uint32_t(uint64_t(position) >> 32);
        rounded_[pair] = float(position);
    }
    template <class L>
    ROPESCALE_HD typename L::U lo(int64_t j) const {
        return L::load(lo_ + j);
    }
    template <class L>
    ROPESCALE_HD typename L::U hi(int64_t j) const {
        return L::load(hi_ + j);
    }
    template <class L>
    ROPESCALE_HD typename L::F rounded(int64_t j) const {
        return L::load(rounded_ + j);
    }

  private:
    alignas(64) uint32_t lo_[kMaxPairs];
    alignas(64) uint32_t hi_[kMaxPairs];
    alignas(64) float rounded_[kMaxPairs];
};

class CosSinSource {
  public:
    explicit CosSinSource(const RotaryQKParams& params)
        : p_(params),
          num_pairs_(params.rotary_dim / 2),
          s_sign_(params.conjugate ? 0x80000000u : 0u) {}

    // Whether the profile that the token (b, t) asks for is there.
    bool has_profile(int64_t b, int64_t t) const {
        const int64_t profile = profile_of(b, t);
        return profile >= 0 && profile < p_.table.num_profiles;
    }

    // The position of pair j of the token (b, t).
    int64_t position(int64_t b, int64_t t, int64_t j) const {
        const IndexParams& index = p_.table.position_ids;
        const int64_t axis = p_.table.axis_ids ? p_.table.axis_ids[j] * index.stride_axis : 0;
        return read_index(index, b * index.stride_batch + t * index.stride_token + axis);
    }

    // Row i of the block takes the token (b, t).
    void fill(CosSinBlock& block, int64_t i, int64_t b, int64_t t) {
        block.k_has_own[i] = false;
        if (p_.cos_sin.cos) {
            fill_from_rows(block, i, b, t);
        } else {
            fill_from_table(block, i, b, t);
        }
    }

  private:
    int64_t profile_of(int64_t b, int64_t t) const {
        const TableParams& table = p_.table;
        if (!table.profile_ids) return 0;
        return table.profile_ids[b * table.profile_stride_batch + t * table.profile_stride_token];
    }

    void fill_from_table(CosSinBlock& block, int64_t i, int64_t b, int64_t t) {
        const TableParams& table = p_.table;
        if (!has_profile(b, t)) return fill_nan(block, i);
        const int64_t profile = profile_of(b, t);
        steps_.select(table, num_pairs_, profile);
        block.k_has_own[i] =
            ScalarLanes::as_uint(steps_.factor_q) != ScalarLanes::as_uint(steps_.factor_k);
        if (!table.axis_ids) {
            SharedPosition shared;
            shared.set(position(b, t, 0));
            return fill_at(block, i, shared);
        }
        for (int64_t j = 0; j < num_pairs_; ++j) axis_positions_.set(j, position(b, t, j));
        fill_at(block, i, axis_positions_);
    }

    template <class Position>
    ROPESCALE_HD void fill_at(CosSinBlock& block, int64_t i, const Position& position) {
        const int64_t row = i * num_pairs_;
        if (p_.table.phase_float32) {
            TurnLanes::for_each(num_pairs_, [&](auto lanes, int64_t j) {
                using L = decltype(lanes);
                const typename L::F angle =
                    position.template rounded<L>(j) * L::load(steps_.inv_freq + j);
                typename L::F s, c;
                sincos_of_phase<L>(phase_of_angle<L>(angle), s, c);
                store<L>(block, i, row + j, nan_unless_finite<L>(angle, s),
                         nan_unless_finite<L>(angle, c));
            });
        } else {
            WideLanes::for_each(num_pairs_, [&](auto lanes, int64_t j) {
                using L = decltype(lanes);
                typename L::F s, c;
                sincos_of_phase<L>(
                    phase_of_position<L>(position.template lo<L>(j), position.template hi<L>(j),
                                         L::load(steps_.lo + j), L::load(steps_.hi + j)),
                    s, c);
                store<L>(block, i, row + j, s, c);
            });
        }
    }

    template <class L>
    ROPESCALE_HD void store(CosSinBlock& block, int64_t i, int64_t at, typename L::F s,
                            typename L::F c) {
        s = L::as_float(L::as_uint(s) ^ s_sign_);
        L::store(block.cos_q + at, c * L::splat(steps_.factor_q));
        L::store(block.sin_q + at, s * L::splat(steps_.factor_q));
        if (block.k_has_own[i]) {
            L::store(block.cos_k + at, c * L::splat(steps_.factor_k));
            L::store(block.sin_k + at, s * L::splat(steps_.factor_k));
        }
    }

    void fill_from_rows(CosSinBlock& block, int64_t i, int64_t b, int64_t t) {
        const CosSinParams& rows = p_.cos_sin;
        int64_t batch = b, token = t;
        if (rows.rows.data) {
            token = read_index(rows.rows, b * rows.rows.stride_batch + t * rows.rows.stride_token);
            batch = 0;
            if (token < 0 || token >= rows.num_rows) return fill_nan(block, i);
        }
        const int64_t cos_at = batch * rows.cos_stride_batch + token * rows.cos_stride_token;
        const int64_t sin_at = batch * rows.sin_stride_batch + token * rows.sin_stride_token;
        switch (rows.dtype) {
            case ROPESCALE_FLOAT32:
                return widen_rows<float>(block, i, cos_at, sin_at);
            case ROPESCALE_FLOAT16:
                return widen_rows<Half>(block, i, cos_at, sin_at);
            case ROPESCALE_BFLOAT16:
                return widen_rows<BFloat16>(block, i, cos_at, sin_at);
        }
    }

    template <class T>
    void widen_rows(CosSinBlock& block, int64_t i, int64_t cos_at, int64_t sin_at) {
        const T* cos_row = static_cast<const T*>(p_.cos_sin.cos) + cos_at;
        const T* sin_row = static_cast<const T*>(p_.cos_sin.sin) + sin_at;
        const int64_t row = i * num_pairs_;
        if (p_.cos_sin.is_strided) return gather_rows(block, row, cos_row, sin_row);
        WideLanes::for_each(num_pairs_, [&](auto lanes, int64_t j) {
            using L = decltype(lanes);
            L::store(block.cos_q + row + j, L::load(cos_row + j));
            L::store(block.sin_q + row + j,
                     L::as_float(L::as_uint(L::load(sin_row + j)) ^ s_sign_));
        });
    }

    // Not inlined, because rows of neighbours would take more instructions.
    template <class T>
    __attribute__((noinline)) void gather_rows(CosSinBlock& block, int64_t row, const T* cos_row,
                                               const T* sin_row) {
        const CosSinParams& rows = p_.cos_sin;
        for (int64_t j = 0; j < num_pairs_; ++j) {
            const int64_t axis = rows.axis_ids[j];
            const T* cos = cos_row + axis * rows.cos_stride_axis + j * rows.cos_stride_pair;
            const T* sin = sin_row + axis * rows.sin_stride_axis + j * rows.sin_stride_pair;
            block.cos_q[row + j] = OneLane::load(cos);
            block.sin_q[row + j] =
                OneLane::as_float(OneLane::as_uint(OneLane::load(sin)) ^ s_sign_);
        }
    }

    void fill_nan(CosSinBlock& block, int64_t i) {
        for (int64_t at = i * num_pairs_; at < (i + 1) * num_pairs_; ++at) {
            block.cos_q[at] = block.sin_q[at] = NAN;
        }
    }

    const RotaryQKParams& p_;
    const int64_t num_pairs_;
    const uint32_t s_sign_;
    ProfileSteps steps_;
    AxisPositions axis_positions_;
};

}  // namespace
}  // namespace ropescale
