// What one thread holds of a row: which pairs of channels, and how they are read, rotated and
// written. A row is head_dim channels of one head of one token.
#pragma once

#include "../math/rotate.h"
#include "words_cuda.h"

namespace ropescale {
namespace cuda {

// Two vectors of 16 bytes, one of the lower and one of the upper half of the rotated channels. They
// are each other's partners where halves are paired, and pairs within themselves where neighbours
// are: either way neighbouring threads touch neighbouring memory.
template <class T, bool kInterleaved>
class VectorPiece {
  public:
    static constexpr int kElements = Vector<T>::kElements;
    static constexpr int kPairs = kElements;
    static constexpr int kHeadsInFlight = 4;
    struct Words {
        Vector<T> lower, upper;
    };

    static ROPESCALE_HD int lanes_of(int rotary_dim) { return (rotary_dim / kElements + 1) / 2; }

    __device__ __forceinline__ VectorPiece(int lane, int rotary_dim)
        : lower_(lane * kElements), upper_((lanes_of(rotary_dim) + lane) * kElements) {
        // Of vectors odd in number, which only neighbours' pairs have, the last thread has one: it
        // does the same twice.
        if (kInterleaved && upper_ >= rotary_dim) upper_ = lower_;
    }

    // Pair i of this thread.
    __device__ __forceinline__ int pair(int i) const {
        if (!kInterleaved) return lower_ + i;
        return i < kPairs / 2 ? lower_ / 2 + i : upper_ / 2 + i - kPairs / 2;
    }

    __device__ __forceinline__ void load(const T* row, Words& words) const {
        words.lower = *reinterpret_cast<const Vector<T>*>(row + lower_);
        words.upper = *reinterpret_cast<const Vector<T>*>(row + upper_);
    }

    __device__ __forceinline__ void rotate(Words& words, const float (&c)[kPairs],
                                           const float (&s)[kPairs]) const {
        float lower[kElements], upper[kElements];
        words.lower.unpack(lower);
        words.upper.unpack(upper);
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
            if constexpr (kInterleaved) {
                float (&half)[kElements] = i < kPairs / 2 ? lower : upper;
                const int first = 2 * (i % (kPairs / 2));
                rotate_pair<ScalarLanes>(half[first], half[first + 1], c[i], s[i]);
            } else {
                rotate_pair<ScalarLanes>(lower[i], upper[i], c[i], s[i]);
            }
        }
        words.lower.pack(lower);
        words.upper.pack(upper);
    }

    __device__ __forceinline__ void store(T* row, const Words& words) const {
        *reinterpret_cast<Vector<T>*>(row + lower_) = words.lower;
        *reinterpret_cast<Vector<T>*>(row + upper_) = words.upper;
    }

  private:
    int lower_, upper_;  // channels
};

// Pairs a stride of all lanes apart, element by element: for rows that are no whole vectors.
template <class T, bool kInterleaved>
class ScalarPiece {
  public:
    static constexpr int kPairs = 4;
    static constexpr int kHeadsInFlight = 2;
    struct Words {
        T x0[kPairs] = {}, x1[kPairs] = {};
    };

    static ROPESCALE_HD int lanes_of(int rotary_dim) {
        return (rotary_dim / 2 + kPairs - 1) / kPairs;
    }

    __device__ __forceinline__ ScalarPiece(int lane, int rotary_dim)
        : num_pairs_(rotary_dim / 2), lane_(lane), lanes_(lanes_of(rotary_dim)) {}

    // Pair i of this thread; not below num_pairs where the thread has no such pair.
    __device__ __forceinline__ int pair(int i) const { return lane_ + i * lanes_; }

    __device__ __forceinline__ void load(const T* row, Words& words) const {
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
            if (pair(i) >= num_pairs_) continue;
            words.x0[i] = row[channel(i)];
            words.x1[i] = row[channel(i) + partner()];
        }
    }

    __device__ __forceinline__ void rotate(Words& words, const float (&c)[kPairs],
                                           const float (&s)[kPairs]) const {
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
            float x0 = widen(words.x0[i]), x1 = widen(words.x1[i]);
            rotate_pair<ScalarLanes>(x0, x1, c[i], s[i]);
            words.x0[i] = narrow<T>(x0);
            words.x1[i] = narrow<T>(x1);
        }
    }

    __device__ __forceinline__ void store(T* row, const Words& words) const {
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
            if (pair(i) >= num_pairs_) continue;
            row[channel(i)] = words.x0[i];
            row[channel(i) + partner()] = words.x1[i];
        }
    }

  private:
    __device__ __forceinline__ int channel(int i) const {
        return kInterleaved ? 2 * pair(i) : pair(i);
    }
    __device__ __forceinline__ int partner() const { return kInterleaved ? 1 : num_pairs_; }

    int num_pairs_, lane_, lanes_;
};

}  // namespace cuda
}  // namespace ropescale
