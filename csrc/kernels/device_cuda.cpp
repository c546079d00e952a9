// Whether the CUDA kernels of this build can run here, and if not, why.
#include <cuda_runtime.h>
#include <stdlib.h>

#include "rotary_qk_cuda.h"

namespace ropescale {
namespace {

std::string decimal(int major, int minor) {
    return std::to_string(major) + "." + std::to_string(minor);
}

// 13020 is CUDA 13.2.
std::string cuda_version(int version) { return decimal(version / 1000, version % 1000 / 10); }

std::string driver_reason() {
    int version = 0;
    cudaDriverGetVersion(&version);
    if (version == 0) return "no NVIDIA driver is loaded";
    // Within a major version, older drivers serve newer runtimes.
    if (version / 1000 >= CUDART_VERSION / 1000) return {};
    const char* needed = CUDART_VERSION >= 13000 ? "580" : "525";
    return "the driver serves CUDA " + cuda_version(version) +
           ", the kernels are built with CUDA " + cuda_version(CUDART_VERSION) +
           ", which needs driver " + needed + " or newer";
}

std::string device_reason(int device) {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    if (10 * major + minor >= ROPESCALE_CUDA_LOWEST) return {};
    return "device " + std::to_string(device) + " has compute capability " + decimal(major, minor) +
           ", the kernels are built for " +
           decimal(ROPESCALE_CUDA_LOWEST / 10, ROPESCALE_CUDA_LOWEST % 10) + " and above";
}

}  // namespace

std::string cuda_unavailable(int device) {
    const std::string driver = driver_reason();
    if (!driver.empty()) return driver;
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0) {
        cudaGetLastError();
        const char* visible = getenv("CUDA_VISIBLE_DEVICES");
        const std::string name = error == cudaSuccess ? "" : cudaGetErrorName(error);
        return "the driver finds no device" + (name.empty() ? "" : " (" + name + ")") +
               (visible ? std::string("; CUDA_VISIBLE_DEVICES is '") + visible + "'" : "");
    }
    if (device >= count) {
        return "there is no device " + std::to_string(device) + ", the driver finds " +
               std::to_string(count);
    }
    if (device >= 0) return device_reason(device);
    std::string reason;
    for (int each = 0; each < count; ++each) {
        reason = device_reason(each);
        if (reason.empty()) break;
    }
    return reason;
}

}  // namespace ropescale
