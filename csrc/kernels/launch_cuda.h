// What every CUDA launch does: the device guard, the stream, programmatic dependent launch, and
// errors with CUDA's names.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <type_traits>

#include "rotary_qk_cuda.h"

namespace ropescale {
namespace cuda {

// Under programmatic dependent launch: lets the next kernel of the stream start its preamble.
__device__ __forceinline__ void release_next_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Under programmatic dependent launch: nothing of the kernel before may be read, and nothing that
// it reads written, ahead of this.
__device__ __forceinline__ void await_previous_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}

// `doing` gives the words for what failed; it is called only then.
template <class Words>
void check(cudaError_t error, const Words& doing) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // or the next call of anyone would be told of it
    throw CudaError(std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) + ") " +
                    doing());
}

// Makes a device current, and puts back the one that was.
class DeviceGuard {
  public:
    explicit DeviceGuard(int device) {
        check(cudaGetDevice(&before_), [] { return "asking for the current device"; });
        changed_ = before_ != device;
        if (!changed_) return;
        check(cudaSetDevice(device), [&] { return "choosing device " + std::to_string(device); });
    }
    ~DeviceGuard() {
        if (changed_) cudaSetDevice(before_);
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int before_ = 0;
    bool changed_ = false;
};

// Lets this thread load kernels while a stream is being captured: loading touches no stream.
class RelaxedCapture {
  public:
    RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
    ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
    RelaxedCapture(const RelaxedCapture&) = delete;
    RelaxedCapture& operator=(const RelaxedCapture&) = delete;

  private:
    cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Asked of the driver once a device.
inline int multiprocessors_of(int device) {
    static std::atomic<int> known[64];
    const bool kept = device >= 0 && device < 64;
    int count = kept ? known[device].load(std::memory_order_relaxed) : 0;
    if (count) return count;
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
          [&] { return "counting the multiprocessors of device " + std::to_string(device); });
    if (kept) known[device].store(count, std::memory_order_relaxed);
    return count;
}

struct LaunchShape {
    int64_t blocks_x, blocks_y;
    int threads_x, threads_y;

    std::string text() const {
        return "grid " + std::to_string(blocks_x) + " x " + std::to_string(blocks_y) + ", block " +
               std::to_string(threads_x) + " x " + std::to_string(threads_y);
    }
};

template <class... Ps, class... As>
void launch(const char* name, void (*kernel)(Ps...), const CudaStream& where, LaunchShape shape,
            const As&... arguments) {
    const auto words = [&] {
        return std::string("launching ") + name + " on device " + std::to_string(where.device) +
               ", " + shape.text();
    };
    if (shape.blocks_x > 0x7fffffff) check(cudaErrorInvalidConfiguration, words);
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(unsigned(shape.blocks_x), unsigned(shape.blocks_y));
    config.blockDim = dim3(unsigned(shape.threads_x), unsigned(shape.threads_y));
    config.stream = static_cast<cudaStream_t>(where.stream);
    config.attrs = &overlap;
    config.numAttrs = where.pdl ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, arguments...), words);
}

template <class... Ps>
void load(const char* name, void (*kernel)(Ps...)) {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)),
          [&] { return std::string("loading ") + name; });
}

}  // namespace cuda
}  // namespace ropescale
