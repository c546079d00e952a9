// YaRN's blended inverse frequency in Transformers' order of float32 operations.
#pragma once

#include "lanes.h"

namespace ropescale {

// inter * (1 - m) + extra * m with m = 1 - ramp, every operation rounded (arXiv:2309.00071, eq. 17
// to 20; the ramp is 0 where a frequency is kept and 1 where it is divided by the factor).
template <class L>
ROPESCALE_HD typename L::F blend_inv_freq(typename L::F pos_freq, typename L::F ramp,
                                          typename L::F factor) {
    using F = typename L::F;
    const F one = L::splat(1.0f);
    const F inter = one / (factor * pos_freq);
    const F extra = one / pos_freq;
    const F m = one - ramp;
    const F kept = extra * m;
    return inter * (one - m) + kept;
}

}  // namespace ropescale
