// Compares turns_from_float32 at every `step`-th bit pattern of float32: the widest lanes against
// one lane, and one lane against exact integers.
//
//   turns_check STEP W5 W4 W3 W2 W1 W0      (hexadecimal words of round(2^194 / (2 pi)))
//
// Prints the number of patterns seen, the number on which lanes differ, the number with a wrong
// sign, and the smallest |x| at which the function's result is not the correctly rounded one.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../csrc/kernels/isa.h"
#include "../../csrc/math/turns.h"

namespace {

using namespace ropescale;

// Returns round(|x| * 2^64 / (2 pi)) mod 2^64. `words` holds the 192-bit constant 2^194 / (2 pi),
// the least significant word first.
uint64_t rounded_turns(uint32_t pattern, const uint32_t* words) {
    const uint32_t biased = pattern >> 23;
    const uint64_t m = biased ? (pattern & 0x7fffffu) | 0x800000u : pattern & 0x7fffffu;
    const int shift = 130 - (int(biased ? biased : 1) - 150);  // 194 - 64 - exponent
    uint32_t product[16] = {};
    uint64_t carry = 0;
    for (int i = 0; i < 6; ++i) {
        carry += m * words[i];
        product[i] = uint32_t(carry);
        carry >>= 32;
    }
    product[6] = uint32_t(carry);
    auto bit = [&](int at) -> uint64_t {
        return at < 0 || at >= 16 * 32 ? 0 : (product[at / 32] >> (at % 32)) & 1u;
    };
    uint64_t turns = 0;
    for (int i = 0; i < 64; ++i) turns |= bit(shift + i) << i;
    return turns + bit(shift - 1);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 8) return 2;
    const uint64_t step = strtoull(argv[1], nullptr, 10);
    uint32_t words[6];
    for (int i = 0; i < 6; ++i) words[5 - i] = uint32_t(strtoul(argv[2 + i], nullptr, 16));

    constexpr int kBlock = 256;
    uint64_t seen = 0, lanes_differ = 0, sign_wrong = 0;
    uint32_t first_inexact = 0x7f800000u;
    for (uint64_t first = 0; first < 0x7f800000u; first += kBlock * step) {
        alignas(64) float x[kBlock];
        alignas(64) uint32_t lo[kBlock], hi[kBlock];
        for (int i = 0; i < kBlock; ++i) {
            const uint64_t pattern = first + uint64_t(i) * step;
            x[i] = ScalarLanes::as_float(pattern < 0x7f800000u ? uint32_t(pattern) : 0u);
        }
        TurnLanes::for_each(kBlock, [&](auto lanes, int64_t j) {
            using L = decltype(lanes);
            const auto turns = turns_from_float32<L>(L::load(x + j));
            L::store(lo + j, L::low_word(turns));
            L::store(hi + j, L::high_word(turns));
        });
        for (int i = 0; i < kBlock; ++i, ++seen) {
            const uint64_t one_lane = turns_from_float32<ScalarLanes>(x[i]);
            lanes_differ += one_lane != (uint64_t(hi[i]) << 32 | lo[i]);
            sign_wrong += turns_from_float32<ScalarLanes>(-x[i]) != uint64_t(0) - one_lane;
            const uint32_t pattern = ScalarLanes::as_uint(x[i]);
            if (pattern < first_inexact && rounded_turns(pattern, words) != one_lane) {
                first_inexact = pattern;
            }
        }
    }
    printf(
        "{\"seen\": %llu, \"lanes_differ\": %llu, \"sign_wrong\": %llu, \"first_inexact\": %.9g}\n",
        static_cast<unsigned long long>(seen), static_cast<unsigned long long>(lanes_differ),
        static_cast<unsigned long long>(sign_wrong), double(ScalarLanes::as_float(first_inexact)));
    return 0;
}
