// The rotary kernel of CUDA devices, and its launch.
#include "cos_sin_cuda.h"
#include "launch_cuda.h"
#include "rotary_qk_cuda.h"
#include "row_cuda.h"

namespace ropescale {
namespace cuda {
namespace {

// Threads of a block at most; a row of the largest head takes half of them.
constexpr int kThreads = 128;
// Of them at a time: caps the registers at 96, which costs no spill.
constexpr int kBlocksPerMultiprocessor = 5;

// Channels at and above rotary_dim of some heads of one token, as raw words.
template <class T, bool kVector>
__device__ __forceinline__ void copy_rest(const T* in, T* out, int64_t in_step, int64_t out_step,
                                          int64_t num_heads, const RotaryQKParams& p) {
    using Word = std::conditional_t<kVector, Vector<T>, T>;
    constexpr int kWidth = sizeof(Word) / sizeof(T);
    const int rest = int(p.head_dim - p.rotary_dim) / kWidth;
    for (int64_t h = 0; h < num_heads; ++h) {
        const auto* from = reinterpret_cast<const Word*>(in + h * in_step + p.rotary_dim);
        auto* to = reinterpret_cast<Word*>(out + h * out_step + p.rotary_dim);
        for (int i = threadIdx.x; i < rest; i += blockDim.x) to[i] = from[i];
    }
}

// Heads [first, last) of one token.
template <class T, bool kVector, class Piece>
__device__ __forceinline__ void rotate_heads(const HeadsParams& heads, const RotaryQKParams& p,
                                             TokenIndex at, int64_t first, int64_t last,
                                             const Piece& piece, const CosSin<Piece::kPairs>& table,
                                             float factor) {
    if (first >= last) return;
    const T* in = static_cast<const T*>(heads.in) + at.batch * heads.in_stride_batch +
                  at.token * heads.in_stride_token + first * heads.in_stride_head;
    T* out = static_cast<T*>(heads.out) + at.batch * heads.out_stride_batch +
             at.token * heads.out_stride_token + first * heads.out_stride_head;
    if (heads.in != heads.out && p.rotary_dim < p.head_dim) {
        copy_rest<T, kVector>(in, out, heads.in_stride_head, heads.out_stride_head, last - first,
                              p);
    }
    if (int(threadIdx.x) >= Piece::lanes_of(int(p.rotary_dim))) return;
    float c[Piece::kPairs], s[Piece::kPairs];
#pragma unroll
    for (int i = 0; i < Piece::kPairs; ++i) {
        c[i] = table.c[i] * factor;
        s[i] = table.s[i] * factor;
    }
    // Several heads' loads are under way before the first of them is needed.
    constexpr int kHeads = Piece::kHeadsInFlight;
#pragma unroll 1
    for (int64_t left = last - first; left > 0; left -= kHeads) {
        typename Piece::Words words[kHeads];
#pragma unroll
        for (int i = 0; i < kHeads; ++i) {
            if (i < left) piece.load(in + i * heads.in_stride_head, words[i]);
        }
#pragma unroll
        for (int i = 0; i < kHeads; ++i) {
            if (i >= left) break;
            piece.rotate(words[i], c, s);
            piece.store(out + i * heads.out_stride_head, words[i]);
        }
        in += kHeads * heads.in_stride_head;
        out += kHeads * heads.out_stride_head;
    }
}

template <class T, bool kInterleaved, bool kVector>
using PieceOf =
    std::conditional_t<kVector, VectorPiece<T, kInterleaved>, ScalarPiece<T, kInterleaved>>;

// Block (lanes, tokens) of the grid (token blocks, head groups): see RotaryQKGrid.
template <class T, bool kInterleaved, bool kVector>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    rotary_qk_kernel(const __grid_constant__ RotaryQKParams p, int64_t heads_per_group) {
    using Piece = PieceOf<T, kInterleaved, kVector>;
    release_next_kernel();
    const int64_t token = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
    if (token >= p.batch * p.seqlen) return;
    const TokenIndex at = token_index(p, token);
    const Piece piece(threadIdx.x, int(p.rotary_dim));
    await_previous_kernel();

    CosSin<Piece::kPairs> table;
    fill_cos_sin(p, at, piece, table);
    const int64_t first = blockIdx.y * heads_per_group, last = first + heads_per_group;
    rotate_heads<T, kVector>(p.q, p, at, first, min(last, p.q.nheads), piece, table,
                             table.factor_q);
    rotate_heads<T, kVector>(p.k, p, at, max(first - p.q.nheads, int64_t(0)),
                             min(last - p.q.nheads, p.k.nheads), piece, table, table.factor_k);
}

using Kernel = void (*)(RotaryQKParams, int64_t);

struct Variant {
    Kernel kernel;
    int lanes, heads_in_flight;
};

template <class T, bool kInterleaved, bool kVector>
Variant variant(const RotaryQKParams& p) {
    using Piece = PieceOf<T, kInterleaved, kVector>;
    return {rotary_qk_kernel<T, kInterleaved, kVector>, Piece::lanes_of(int(p.rotary_dim)),
            Piece::kHeadsInFlight};
}

template <class T>
Variant variant(const RotaryQKParams& p, bool vector) {
    if (p.interleaved) return vector ? variant<T, true, true>(p) : variant<T, true, false>(p);
    return vector ? variant<T, false, true>(p) : variant<T, false, false>(p);
}

Variant variant_of(const RotaryQKParams& p, bool vector) {
    switch (p.dtype) {
        case ROPESCALE_FLOAT16:
            return variant<Half>(p, vector);
        case ROPESCALE_BFLOAT16:
            return variant<BFloat16>(p, vector);
        default:
            return variant<float>(p, vector);
    }
}

// Lanes of a token: those that rotate, or, where more is copied than rotated, a warp that copies.
int lanes_of(const RotaryQKParams& p, const Variant& chosen, bool vector) {
    const bool copies = p.q.in != p.q.out || p.k.in != p.k.out;
    const int64_t width = vector ? 16 / element_size(p.dtype) : 1;
    const int64_t rest = copies ? (p.head_dim - p.rotary_dim) / width : 0;
    return int(std::max<int64_t>(chosen.lanes, std::min<int64_t>(rest, 32)));
}

}  // namespace
}  // namespace cuda

RotaryQKGrid rotary_qk_grid(int lanes, int heads_in_flight, int64_t num_tokens, int64_t num_heads,
                            int num_multiprocessors) {
    // For each multiprocessor: several waves of them, so that the last is short.
    constexpr int64_t kBlocksWanted = 16;
    constexpr int64_t kMostGroups = 65535;  // of a grid's second axis
    RotaryQKGrid grid;
    grid.lanes = lanes;
    grid.tokens_per_block = std::max(1, cuda::kThreads / lanes);
    // At few tokens no thread of a block may be left without one.
    grid.tokens_per_block = int(std::min<int64_t>(grid.tokens_per_block, num_tokens));
    grid.token_blocks = (num_tokens + grid.tokens_per_block - 1) / grid.tokens_per_block;
    const int64_t wanted = kBlocksWanted * num_multiprocessors;
    const int64_t steps = (num_heads + heads_in_flight - 1) / heads_in_flight;
    const int64_t groups =
        std::min({steps, kMostGroups, (wanted + grid.token_blocks - 1) / grid.token_blocks});
    const int64_t steps_per_group = (steps + groups - 1) / groups;
    grid.heads_per_group = steps_per_group * heads_in_flight;
    grid.head_groups = int((steps + steps_per_group - 1) / steps_per_group);
    return grid;
}

bool rotary_qk_fits_vectors(const RotaryQKParams& p) {
    const int64_t width = 16 / element_size(p.dtype);
    // Rows one apart have a stride that nothing is reached by.
    const auto whole = [&](int64_t size, int64_t stride) {
        return size < 2 || stride % width == 0;
    };
    const auto fits = [&](const HeadsParams& heads) {
        if (!heads.in) return true;
        const uintptr_t addresses =
            reinterpret_cast<uintptr_t>(heads.in) | reinterpret_cast<uintptr_t>(heads.out);
        return addresses % 16 == 0 && whole(p.batch, heads.in_stride_batch) &&
               whole(p.batch, heads.out_stride_batch) && whole(p.seqlen, heads.in_stride_token) &&
               whole(p.seqlen, heads.out_stride_token) &&
               whole(heads.nheads, heads.in_stride_head) &&
               whole(heads.nheads, heads.out_stride_head);
    };
    const bool in_place = p.q.in == p.q.out && p.k.in == p.k.out;
    const int64_t pieces = p.interleaved ? p.rotary_dim : p.rotary_dim / 2;
    return pieces % width == 0 && (in_place || p.head_dim % width == 0) && fits(p.q) && fits(p.k);
}

void launch_rotary_qk_cuda(const RotaryQKParams& p, const CudaStream& where) {
    const int64_t num_tokens = p.batch * p.seqlen;
    const int64_t num_heads = p.q.nheads + (p.k.in ? p.k.nheads : 0);
    if (num_tokens * num_heads == 0) return;
    const bool vector = rotary_qk_fits_vectors(p);
    const cuda::Variant chosen = cuda::variant_of(p, vector);
    const cuda::DeviceGuard guard(where.device);
    const RotaryQKGrid grid =
        rotary_qk_grid(cuda::lanes_of(p, chosen, vector), chosen.heads_in_flight, num_tokens,
                       num_heads, cuda::multiprocessors_of(where.device));
    cuda::launch("rotary_qk_kernel", chosen.kernel, where,
                 {grid.token_blocks, grid.head_groups, grid.lanes, grid.tokens_per_block}, p,
                 grid.heads_per_group);
}

int load_rotary_qk_kernels(int device) {
    const cuda::DeviceGuard guard(device);
    const cuda::RelaxedCapture relaxed;
    int count = 0;
    for (DType dtype : {ROPESCALE_FLOAT32, ROPESCALE_FLOAT16, ROPESCALE_BFLOAT16}) {
        for (int choice = 0; choice < 4; ++choice) {
            RotaryQKParams p = {};
            p.dtype = dtype;
            p.rotary_dim = 64;
            p.interleaved = choice / 2;
            cuda::load("rotary_qk_kernel", cuda::variant_of(p, choice % 2).kernel);
            ++count;
        }
    }
    return count;
}

}  // namespace ropescale
