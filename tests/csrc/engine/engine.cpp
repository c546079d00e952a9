// A C++ engine that rotates q and k without Python: on the CPU and, if the library has emulated
// CUDA kernels, through the CUDA entry point. Both give equal bits.
//
//   engine [emulated]
#include <ropescale.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int64_t kTokens = 5, kHeads = 4, kHeadsOfK = 2, kHeadDim = 64, kPairs = kHeadDim / 2;

struct Model {
    std::vector<uint32_t> steps = std::vector<uint32_t>(2 * kPairs);
    std::vector<uint32_t> factors = std::vector<uint32_t>(2);
    std::vector<int64_t> positions = {0, 1, 7919, -3, 1ll << 40};

    explicit Model(float factor) {
        std::vector<float> inv_freq(kPairs);
        for (int64_t j = 0; j < kPairs; ++j) {
            inv_freq[j] = std::pow(10000.0f, -float(2 * j) / float(kHeadDim));
        }
        if (ropescale_fill_steps(inv_freq.data(), kPairs, steps.data())) fail("fill_steps");
        for (uint32_t& word : factors) std::memcpy(&word, &factor, sizeof(factor));
    }

    [[noreturn]] static void fail(const char* what) {
        std::fprintf(stderr, "%s: %s\n", what, ropescale_last_error());
        std::exit(1);
    }
};

ropescale_heads heads(std::vector<float>& x, int64_t nheads) {
    ropescale_heads h = {};
    h.in = h.out = x.data();
    h.nheads = nheads;
    h.in_stride_token = h.out_stride_token = nheads * kHeadDim;
    h.in_stride_head = h.out_stride_head = kHeadDim;
    return h;
}

ropescale_rotary_qk_params params(const Model& model, std::vector<float>& q,
                                  std::vector<float>& k) {
    ropescale_rotary_qk_params p = {};
    p.dtype = ROPESCALE_FLOAT32;
    p.batch = 1;
    p.seqlen = kTokens;
    p.head_dim = p.rotary_dim = kHeadDim;
    p.q = heads(q, kHeads);
    p.k = heads(k, kHeadsOfK);
    p.table.steps = model.steps.data();
    p.table.factors = model.factors.data();
    p.table.num_profiles = 1;
    p.table.position_ids.data = model.positions.data();
    p.table.position_ids.is_int64 = true;
    p.table.position_ids.stride_token = 1;
    return p;
}

std::vector<float> values(int64_t nheads) {
    std::vector<float> x(size_t(kTokens * nheads * kHeadDim));
    for (size_t i = 0; i < x.size(); ++i) x[i] = float((i * 2654435761u >> 8) % 2001) / 1000 - 1;
    return x;
}

void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "expected: %s\n", what);
    std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
    const bool emulated = argc > 1 && std::string(argv[1]) == "emulated";
    const float factor = 1.25f;
    const Model model(factor);
    std::vector<float> q = values(kHeads), k = values(kHeadsOfK);
    const std::vector<float> before = q;
    ropescale_rotary_qk_params p = params(model, q, k);
    if (ropescale_rotary_qk_cpu(&p, 2)) Model::fail("rotary_qk_cpu");
    // The definition in double. The frequency of the first pair is 1 radian per token.
    for (int64_t t = 0; t < kTokens; ++t) {
        for (int64_t h = 0; h < kHeads; ++h) {
            const size_t at = size_t((t * kHeads + h) * kHeadDim);
            const double angle = std::fmod(double(model.positions[size_t(t)]), 2 * M_PI);
            const double x0 = before[at], x1 = before[at + kPairs];
            const double want = factor * (x0 * std::cos(angle) - x1 * std::sin(angle));
            // At token 4 the position is 2^40: fmod by a rounded 2 pi is too inaccurate there.
            if (t < 4) expect(std::fabs(q[at] - want) < 1e-5, "the rotation of the first pair");
        }
    }
    std::vector<float> q_cuda = values(kHeads), k_cuda = values(kHeadsOfK);
    ropescale_rotary_qk_params on_device = params(model, q_cuda, k_cuda);
    const char* reason = ropescale_cuda_unavailable(0);
    if (emulated) {
        expect(!reason, "emulated kernels run");
        if (ropescale_rotary_qk_cuda(&on_device, 0, nullptr, false)) Model::fail("rotary_qk_cuda");
        expect(q == q_cuda && k == k_cuda, "equal bits of cpu and cuda");
    } else {
        // A real CUDA kernel cannot read this program's host memory, so nothing is launched.
        std::printf("cuda: %s\n", reason ? reason : "can run");
    }
    p.rotary_dim = 65;
    expect(ropescale_rotary_qk_cpu(&p, 1) == -1, "an odd rotary_dim is refused");
    std::printf("%s\n", ropescale_last_error());
    p.rotary_dim = kHeadDim;
    p.table.steps = nullptr;
    expect(ropescale_rotary_qk_cpu(&p, 1) == -1, "a missing table is refused");
    std::printf("%s\n", ropescale_last_error());
    return 0;
}
