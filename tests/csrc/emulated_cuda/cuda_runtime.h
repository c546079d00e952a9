// The part of CUDA's execution model and runtime that the kernels use, on the host. A C++ compiler
// builds the same .cu. The threads run one by one, on memory that sanitizers watch.
//
// The emulation serves kernels without shared memory, barriers and shuffles: every order of threads
// is legal for them, and tests choose several.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

#define CUDART_VERSION 13000

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
extern thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

using std::max;
using std::min;

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorLaunchOutOfResources = 701,
    cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeRelaxed = 2 };
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
typedef struct CUstream_st* cudaStream_t;

struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        int programmaticStreamSerializationAllowed;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
    cudaLaunchAttribute* attrs = nullptr;
    unsigned numAttrs = 0;
};
struct cudaFuncAttributes {
    int numRegs;
};

const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel);

// Records the launch of `kernel`, returns an error for a configuration that a device would refuse,
// and else calls `thread` once per thread. `parameters` are the bytes that a device would read.
cudaError_t emulate_launch(const cudaLaunchConfig_t& config, const void* kernel,
                           const std::vector<unsigned char>& parameters,
                           const std::function<void()>& thread);

// Appends a kernel's parameter, aligned as on a device.
template <class P>
void append_parameter(std::vector<unsigned char>& bytes, const P& parameter) {
    const size_t at = (bytes.size() + alignof(P) - 1) / alignof(P) * alignof(P);
    bytes.resize(at + sizeof(P));
    memcpy(bytes.data() + at, &parameter, sizeof(P));
}

template <class... Ps, class... As>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Ps...),
                               const As&... arguments) {
    std::vector<unsigned char> parameters;
    (append_parameter<Ps>(parameters, arguments), ...);
    return emulate_launch(*config, reinterpret_cast<const void*>(kernel), parameters,
                          [&] { kernel(arguments...); });
}
