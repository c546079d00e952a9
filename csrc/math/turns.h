// From a float32 in radians to turns, as a 64-bit fraction of one turn.
#pragma once

#include "lanes.h"
#include "sincos_coefficients.h"

namespace ropescale {

// turns_from_float32(x) = round(x / (2 pi) * 2^64) mod 2^64, for finite x.
//
// |x| = m 2^e with a 24-bit m; m times the 96-bit constant 2^98 / (2 pi) is exact, and one rounding
// shift by 34 - e gives the result. Negative x is the two's complement. A non-finite x gives some
// number; callers test for it (is_finite).
template <class L>
ROPESCALE_HD typename L::W turns_from_float32(typename L::F x) {
    using U = typename L::U;
    using W = typename L::W;
    const U bits = L::as_uint(x);
    const U biased = (bits >> 23) & 0xffu;
    // 1 for a normal number, 0 for a subnormal one, whose exponent reads as that of the smallest
    // normal number and which lacks the implicit bit.
    const U normal = (biased + 0xffu) >> 8;
    const W m = L::widen((bits & 0x7fffffu) | (normal << 23));
    const W shift = L::splat(uint64_t(34 + 150)) - L::widen(biased + (1u - normal));

    // 24 x 96 bits in three products of 56 bits, as the two halves (high, low) of 128.
    const W p0 = L::mul_low_words(m, L::splat(uint64_t(kInvTwoPi0)));
    const W p1 = L::mul_low_words(m, L::splat(uint64_t(kInvTwoPi1))) + (p0 >> 32);
    const W p2 = L::mul_low_words(m, L::splat(uint64_t(kInvTwoPi2))) + (p1 >> 32);
    const W low = (p0 & 0xffffffffu) | (p1 << 32);
    const W high = p2;

    // Add half of the last place kept, then shift the 128 bits right (left where shift is negative;
    // counts out of range, negative ones included, contribute nothing).
    const W one = L::splat(uint64_t(1));
    const W half_low = L::shift_left(one, shift - 1);
    const W half_high = L::shift_left(one, shift - 65);
    const W low_sum = low + half_low;
    const W carry = ((low & half_low) | ((low | half_low) & ~low_sum)) >> 63;
    const W high_sum = high + half_high + carry;
    const W zero = L::splat(uint64_t(0));
    const W turns = L::shift_right(low_sum, shift) | L::shift_left(high_sum, 64 - shift) |
                    L::shift_right(high_sum, shift - 64) | L::shift_left(low_sum, zero - shift);
    const W negative = zero - L::widen(bits >> 31);
    return (turns ^ negative) - negative;
}

template <class L>
ROPESCALE_HD typename L::F nan_unless_finite(typename L::F guard, typename L::F value) {
    const auto not_finite = L::equal(L::as_uint(guard) & 0x7f800000u, 0x7f800000u);
    return L::select(not_finite, L::as_float(L::splat(0x7fc00000u)), value);
}

}  // namespace ropescale
