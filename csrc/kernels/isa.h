// The instruction set this translation unit is compiled for, as a list of Lanes, widest first.
//
// The build compiles the CPU kernel once per instruction set, with -DROPESCALE_ISA_<NAME>. All code
// lives in unnamed namespaces or is always inlined, so that the linker never picks one set's copy
// of a function for another.
#pragma once

#include "lanes_scalar.h"
#include "lanes_split.h"
#if defined(ROPESCALE_ISA_AVX512)
#include "lanes_avx2.h"
#include "lanes_avx512.h"
#define ROPESCALE_ISA avx512
#elif defined(ROPESCALE_ISA_AVX2)
#include "lanes_avx2.h"
#define ROPESCALE_ISA avx2
#else
#define ROPESCALE_ISA baseline
#endif

namespace ropescale {
namespace {

template <class... Ls>
struct LaneList {
    // Calls body(lanes, j) over [0, count): as many steps of the widest lanes as fit, then of the
    // next, down to one lane.
    template <class Body>
    static ROPESCALE_HD void for_each(int64_t count, Body body) {
        int64_t j = 0;
        (step(Ls{}, j, count, body), ...);
    }

  private:
    template <class L, class Body>
    static ROPESCALE_HD void step(L lanes, int64_t& j, int64_t count, Body& body) {
        for (; j + L::kWidth <= count; j += L::kWidth) body(lanes, j);
    }
};

#if defined(ROPESCALE_ISA_AVX512)
using WideLanes = LaneList<Avx512Lanes, Avx2Lanes, OneLane>;
using TurnLanes = LaneList<Avx2Lanes, OneLane>;  // those with 64-bit integer lanes
using BFloat16Lanes = LaneList<SplitLanes<Avx512Lanes>, Avx512Lanes, Avx2Lanes, OneLane>;
#elif defined(ROPESCALE_ISA_AVX2)
using WideLanes = LaneList<Avx2Lanes, OneLane>;
using TurnLanes = WideLanes;
using BFloat16Lanes = LaneList<SplitLanes<Avx2Lanes>, Avx2Lanes, OneLane>;
#else
using WideLanes = LaneList<OneLane>;
using TurnLanes = WideLanes;
using BFloat16Lanes = WideLanes;
#endif

template <class L>
constexpr bool kIsSplit = false;
template <class L>
constexpr bool kIsSplit<SplitLanes<L>> = true;

// How a row of T is walked, and so how its cosines and sines are arranged.
template <class T, bool kInterleaved>
struct RowLanesOf {
    using type = WideLanes;
};
template <>
struct RowLanesOf<BFloat16, false> {
    using type = BFloat16Lanes;
};
template <class T, bool kInterleaved>
using RowLanes = typename RowLanesOf<T, kInterleaved>::type;

}  // namespace
}  // namespace ropescale
