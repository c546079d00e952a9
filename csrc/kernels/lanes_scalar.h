// One lane: the baseline build, and the tail of every row.
#pragma once

#include "../math/lanes.h"
#include "../math/narrow.h"

namespace ropescale {
namespace {

struct OneLane : ScalarLanes {
    using ScalarLanes::load;
    using ScalarLanes::store;

    static ROPESCALE_HD F load(const BFloat16* p) { return widen_word(*p); }
    static ROPESCALE_HD F load(const Half* p) { return widen_word(*p); }
    static ROPESCALE_HD void store(BFloat16* p, F x) { *p = narrow<BFloat16>(x); }
    static ROPESCALE_HD void store(Half* p, F x) { *p = narrow<Half>(x); }
    template <class T>
    static ROPESCALE_HD void load_pairs(const T* p, F& x0, F& x1) {
        x0 = load(p);
        x1 = load(p + 1);
    }
    template <class T>
    static ROPESCALE_HD void store_pairs(T* p, F x0, F x1) {
        store(p, x0);
        store(p + 1, x1);
    }
};

}  // namespace
}  // namespace ropescale
