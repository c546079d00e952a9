// Twice the lanes for bfloat16, as the even and the odd words of one register.
//
// Widening and narrowing 16-bit words lane by lane takes shuffles. Taking a register of words as
// 32-bit lanes instead, the odd words are floats once their low half is masked off, and the even
// ones after a shift. The cosines and sines of such a step must lie in the same order: the even
// ones, then the odd ones, which `arrange` sees to once for all heads of a token.
#pragma once

#include "../math/lanes.h"
#include "../math/narrow.h"

namespace ropescale {
namespace {

template <class L>
struct SplitLanes {
    struct F {
        typename L::F even, odd;
        ROPESCALE_HD F operator*(F b) const { return {even * b.even, odd * b.odd}; }
        ROPESCALE_HD F operator-() const { return {-even, -odd}; }
    };
    static constexpr int kWidth = 2 * L::kWidth;

    static ROPESCALE_HD F fma(F a, F b, F c) {
        return {L::fma(a.even, b.even, c.even), L::fma(a.odd, b.odd, c.odd)};
    }
    static ROPESCALE_HD F load(const BFloat16* p) {
        F x;
        L::load_pairs(p, x.even, x.odd);
        return x;
    }
    static ROPESCALE_HD void store(BFloat16* p, F x) { L::store_pairs(p, x.even, x.odd); }
    static ROPESCALE_HD F load(const float* arranged) {
        return {L::load(arranged), L::load(arranged + L::kWidth)};
    }
    static ROPESCALE_HD void arrange(float* p) {
        F x;
        L::load_pairs(p, x.even, x.odd);
        L::store(p, x.even);
        L::store(p + L::kWidth, x.odd);
    }
};

}  // namespace
}  // namespace ropescale
