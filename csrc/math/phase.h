// Position times frequency, reduced to one turn: the top 32 bits of a product modulo 2^64.
#pragma once

#include "turns.h"

namespace ropescale {

// Exact for the frequency step * 2^-64 turns at every 64-bit position, negative ones included: the
// wrap-around of the integers is the range reduction. The words of the step are (lo, hi).
template <class L>
ROPESCALE_HD typename L::U phase_of_position(typename L::U position_lo, typename L::U position_hi,
                                             typename L::U step_lo, typename L::U step_hi) {
    return position_lo * step_hi + position_hi * step_lo + L::mul_high(position_lo, step_lo);
}

// The phase of a float32 angle in radians, as table-based engines round it.
template <class L>
ROPESCALE_HD typename L::U phase_of_angle(typename L::F angle) {
    return L::high_word(turns_from_float32<L>(angle));
}

}  // namespace ropescale
