// Launching the CUDA kernels: how a call is cut into blocks, on which stream, whether it can run.
#pragma once

#include <stdint.h>

#include <stdexcept>
#include <string>

#include "rotary_qk.h"

namespace ropescale {

// Named after CUDA's error, with the launch it belongs to.
class CudaError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct CudaStream {
    int device = 0;
    void* stream = nullptr;  // cudaStream_t; null: the default stream
    bool pdl = false;        // programmatic dependent launch
};

// A block is (lanes, tokens): `lanes` threads serve one token, for a group of the heads of q and k.
struct RotaryQKGrid {
    int lanes = 0, tokens_per_block = 0;
    int64_t token_blocks = 0;
    int64_t heads_per_group = 0;
    int head_groups = 0;
};

// Plain arithmetic: all heads in one group where tokens alone fill the device, so that a token's
// sines are computed once; more groups where blocks of tokens would leave multiprocessors idle.
RotaryQKGrid rotary_qk_grid(int lanes, int heads_in_flight, int64_t num_tokens, int64_t num_heads,
                            int num_multiprocessors);

// Whether all of a call's rows are whole vectors of 16 bytes.
bool rotary_qk_fits_vectors(const RotaryQKParams& params);

// Rotates every token in one kernel; throws CudaError. Allocates nothing and waits for nothing.
void launch_rotary_qk_cuda(const RotaryQKParams& params, const CudaStream& where);

// Why the kernels cannot run, or on no device (device < 0), or not on this one; empty if they can.
std::string cuda_unavailable(int device);

// Loads every rotation kernel onto the device and returns their number. Without this, a kernel is
// loaded at its first launch.
int load_rotary_qk_kernels(int device);

}  // namespace ropescale
