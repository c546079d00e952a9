// The rotation of one pair of channels.
#pragma once

#include "lanes.h"

namespace ropescale {

template <class L>
ROPESCALE_HD void rotate_pair(typename L::F& x0, typename L::F& x1, typename L::F c,
                              typename L::F s) {
    using F = typename L::F;
    const F y0 = L::fma(x0, c, -(x1 * s));
    const F y1 = L::fma(x1, c, x0 * s);
    x0 = y0;
    x1 = y1;
}

}  // namespace ropescale
