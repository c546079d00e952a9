// Compares the float32 sine and cosine of csrc/math with double polynomials that are accurate to
// 1e-16, at every `step`-th reduced phase. Prints the largest errors, and the largest value of
// error + 3 u |value| (u = 2^-24), from which ropescale_kernels/bounds.py derives the rotation
// bound.
//
//   sincos_exhaustive STEP THREADS
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thread>
#include <vector>

#include "../../csrc/kernels/isa.h"
#include "../../csrc/math/sincos.h"

namespace {

using namespace ropescale;
constexpr int kBlock = 4096;

struct Worst {
    double sine = 0, cosine = 0, joint = 0;
    uint64_t sine_at = 0, cosine_at = 0;
};

// Taylor series on [-pi/4, pi/4]. The first omitted term is below 1e-17.
inline double sine_of(double x) {
    const double z = x * x;
    double p = 1.0 / 355687428096000.0;
    p = p * z - 1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return x + x * z * p;
}
inline double cosine_of(double x) {
    const double z = x * x;
    double p = 1.0 / 20922789888000.0;
    p = p * z - 1.0 / 87178291200.0;
    p = p * z + 1.0 / 479001600.0;
    p = p * z - 1.0 / 3628800.0;
    p = p * z + 1.0 / 40320.0;
    p = p * z - 1.0 / 720.0;
    p = p * z + 1.0 / 24.0;
    p = p * z - 0.5;
    return 1.0 + z * p;
}

void check_block(uint64_t first, uint64_t step, Worst& worst) {
    alignas(64) uint32_t phase[kBlock];
    alignas(64) float s[kBlock], c[kBlock];
    for (int i = 0; i < kBlock; ++i) phase[i] = uint32_t(first + uint64_t(i) * step);
    WideLanes::for_each(kBlock, [&](auto lanes, int64_t j) {
        using L = decltype(lanes);
        typename L::F sine, cosine;
        sincos_of_phase<L>(L::load(phase + j), sine, cosine);
        L::store(s + j, sine);
        L::store(c + j, cosine);
    });
    double sine[16] = {}, cosine[16] = {}, joint[16] = {};
    constexpr double kThreeU = 3.0 / 16777216.0;
    for (int i = 0; i < kBlock; i += 16) {
        for (int l = 0; l < 16; ++l) {
            const uint32_t quadrant = (phase[i + l] + 0x20000000u) >> 30;
            const double x = double(int32_t(phase[i + l] - (quadrant << 30))) *
                             (3.14159265358979323846 / 2147483648.0);
            const double a = sine_of(x), b = cosine_of(x);
            const double odd = double(int32_t(quadrant & 1)), even = 1.0 - odd;
            const double s_sign = 1.0 - double(int32_t(quadrant & 2));
            const double c_sign = 1.0 - double(int32_t((quadrant + 1) & 2));
            const double s_error = fabs(double(s[i + l]) - s_sign * (even * a + odd * b));
            const double c_error = fabs(double(c[i + l]) - c_sign * (even * b + odd * a));
            const double s_joint = s_error + kThreeU * fabs(double(s[i + l]));
            const double c_joint = c_error + kThreeU * fabs(double(c[i + l]));
            sine[l] = sine[l] > s_error ? sine[l] : s_error;
            cosine[l] = cosine[l] > c_error ? cosine[l] : c_error;
            joint[l] = joint[l] > s_joint ? joint[l] : s_joint;
            joint[l] = joint[l] > c_joint ? joint[l] : c_joint;
        }
    }
    for (int l = 0; l < 16; ++l) {
        if (sine[l] > worst.sine) worst.sine = sine[l], worst.sine_at = first;
        if (cosine[l] > worst.cosine) worst.cosine = cosine[l], worst.cosine_at = first;
        if (joint[l] > worst.joint) worst.joint = joint[l];
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const uint64_t step = strtoull(argv[1], nullptr, 10);
    const int num_threads = atoi(argv[2]);
    const uint64_t blocks = ((uint64_t(1) << 32) + kBlock * step - 1) / (kBlock * step);
    std::vector<Worst> worst(static_cast<size_t>(num_threads));
    std::vector<std::thread> team;
    for (int t = 0; t < num_threads; ++t) {
        team.emplace_back([&, t] {
            for (uint64_t b = uint64_t(t); b < blocks; b += uint64_t(num_threads)) {
                check_block(b * kBlock * step, step, worst[size_t(t)]);
            }
        });
    }
    Worst all;
    for (int t = 0; t < num_threads; ++t) {
        team[size_t(t)].join();
        const Worst& w = worst[size_t(t)];
        if (w.sine > all.sine) all.sine = w.sine, all.sine_at = w.sine_at;
        if (w.cosine > all.cosine) all.cosine = w.cosine, all.cosine_at = w.cosine_at;
        if (w.joint > all.joint) all.joint = w.joint;
    }
    printf(
        "{\"phases\": %llu, \"sine\": %.6e, \"cosine\": %.6e, \"joint\": %.6e, "
        "\"sine_block\": %llu, \"cosine_block\": %llu}\n",
        static_cast<unsigned long long>(blocks * kBlock), all.sine, all.cosine, all.joint,
        static_cast<unsigned long long>(all.sine_at),
        static_cast<unsigned long long>(all.cosine_at));
    return 0;
}
