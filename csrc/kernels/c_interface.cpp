// The functions of the C header: sizes and null pointers checked, exceptions turned into codes.
#include <string>

#include "../math/turns.h"
#include "float_mode.h"
#include "rotary_qk_cpu.h"
#include "rotary_qk_cuda.h"

namespace ropescale {
namespace {

thread_local std::string last_error;

void expect(bool valid, const char* argument, const char* requirement, int64_t got) {
    if (valid) return;
    throw std::invalid_argument(std::string(argument) + ": expected " + requirement + ", got " +
                                std::to_string(got));
}

void expect_pointer(const void* pointer, const char* argument) {
    if (!pointer) throw std::invalid_argument(std::string(argument) + ": expected data, got null");
}

void check(const ropescale_rotary_qk_params* params) {
    expect_pointer(params, "params");
    const RotaryQKParams& p = *params;
    expect(p.dtype >= ROPESCALE_FLOAT32 && p.dtype <= ROPESCALE_BFLOAT16, "dtype",
           "a ropescale_dtype", p.dtype);
    expect(p.batch >= 0, "batch", "0 or more", p.batch);
    expect(p.seqlen >= 0, "seqlen", "0 or more", p.seqlen);
    expect(p.q.nheads >= 0, "q.nheads", "0 or more", p.q.nheads);
    expect(p.k.nheads >= 0, "k.nheads", "0 or more", p.k.nheads);
    expect(p.head_dim > 0 && p.head_dim <= kMaxHeadDim, "head_dim", "1 to 512", p.head_dim);
    expect(p.rotary_dim > 0 && p.rotary_dim % 2 == 0 && p.rotary_dim <= p.head_dim, "rotary_dim",
           "an even number from 2 to head_dim", p.rotary_dim);
    if (p.batch * p.seqlen == 0) return;
    if (p.q.nheads) expect_pointer(p.q.in, "q.in");
    if (p.q.nheads) expect_pointer(p.q.out, "q.out");
    if (p.k.nheads) expect_pointer(p.k.in, "k.in");
    if (p.k.nheads) expect_pointer(p.k.out, "k.out");
    if (p.cos_sin.cos) {
        expect_pointer(p.cos_sin.sin, "cos_sin.sin");
        return;
    }
    expect(p.table.num_profiles > 0, "table.num_profiles", "1 or more", p.table.num_profiles);
    expect_pointer(p.table.steps, "table.steps");
    expect_pointer(p.table.factors, "table.factors");
    expect_pointer(p.table.position_ids.data, "table.position_ids.data");
    if (p.table.phase_float32) expect_pointer(p.table.inv_freq, "table.inv_freq");
    if (p.table.scales) expect_pointer(p.table.pos_freqs, "table.pos_freqs");
    if (p.table.scales) expect_pointer(p.table.ramp, "table.ramp");
}

template <class Body>
int guarded(Body body) {
    try {
        body();
        return 0;
    } catch (const std::exception& error) {
        last_error = error.what();
    }
    return -1;
}

}  // namespace
}  // namespace ropescale

using namespace ropescale;

const char* ropescale_last_error(void) { return last_error.c_str(); }

int ropescale_rotary_qk_cpu(const ropescale_rotary_qk_params* params, int num_threads) {
    return guarded([&] {
        check(params);
        launch_rotary_qk_cpu(*params, best_cpu_isa(), num_threads);
    });
}

int ropescale_rotary_qk_cuda(const ropescale_rotary_qk_params* params, int device, void* stream,
                             bool pdl) {
    return guarded([&] {
        check(params);
        launch_rotary_qk_cuda(*params, {device, stream, pdl});
    });
}

const char* ropescale_cuda_unavailable(int device) {
    thread_local std::string reason;
    reason = cuda_unavailable(device);
    return reason.empty() ? nullptr : reason.c_str();
}

int ropescale_fill_steps(const float* inv_freq, int64_t count, uint32_t* steps) {
    return guarded([&] {
        expect(count >= 0, "count", "0 or more", count);
        if (count) expect_pointer(inv_freq, "inv_freq");
        if (count) expect_pointer(steps, "steps");
        const FloatModeGuard guard;
        for (int64_t j = 0; j < count; ++j) {
            const bool finite = inv_freq[j] - inv_freq[j] == 0.0f;
            if (!finite) {
                throw std::invalid_argument("inv_freq: expected finite numbers, got " +
                                            std::to_string(inv_freq[j]) + " at " +
                                            std::to_string(j));
            }
            const uint64_t turns = turns_from_float32<ScalarLanes>(inv_freq[j]);
            steps[2 * j] = uint32_t(turns);
            steps[2 * j + 1] = uint32_t(turns >> 32);
        }
    });
}
