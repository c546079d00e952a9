// The state of the emulated device, and the functions through which tests set and read it.
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "../../../csrc/kernels/float_mode.h"

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

struct Machine {
    int driver_version = 13000, device_count = 2, compute_major = 9, compute_minor = 0;
    int multiprocessors = 3;
    int order = 0;  // 0: forwards, 1: backwards, else the seed of a shuffle
    int fail_launch = 0, fail_set_device = 0, no_kernel_image = 0;
    int record_only = 0;  // launches run no thread
};

struct Launch {
    dim3 grid, block;
    void* stream;
    int device, pdl;
    int64_t kernel;  // address of the kernel in the module's file
    std::vector<unsigned char> parameters;
};

Machine machine;
std::vector<Launch> launches;
int current_device = 0;
cudaError_t last_error = cudaSuccess;
cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;

cudaError_t fail_with(int error) { return last_error = cudaError_t(error); }

bool configuration_valid(const dim3& grid, const dim3& block) {
    const uint64_t threads = uint64_t(block.x) * block.y * block.z;
    return grid.x && grid.y && grid.z && threads && threads <= 1024 && block.z <= 64 &&
           grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535;
}

int64_t address_in_file(const void* function) {
    Dl_info info = {};
    dladdr(function, &info);
    return static_cast<const char*>(function) - static_cast<const char*>(info.dli_fbase);
}

}  // namespace

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess:
            return "cudaSuccess";
        case cudaErrorInvalidConfiguration:
            return "cudaErrorInvalidConfiguration";
        case cudaErrorInsufficientDriver:
            return "cudaErrorInsufficientDriver";
        case cudaErrorNoDevice:
            return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice:
            return "cudaErrorInvalidDevice";
        case cudaErrorNoKernelImageForDevice:
            return "cudaErrorNoKernelImageForDevice";
        case cudaErrorLaunchOutOfResources:
            return "cudaErrorLaunchOutOfResources";
        case cudaErrorStreamCaptureUnsupported:
            return "cudaErrorStreamCaptureUnsupported";
    }
    return "cudaErrorUnknown";
}

const char* cudaGetErrorString(cudaError_t) { return "emulated"; }

cudaError_t cudaDriverGetVersion(int* version) {
    *version = machine.driver_version;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = machine.device_count;
    return machine.device_count ? cudaSuccess : fail_with(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (machine.fail_set_device) return fail_with(machine.fail_set_device);
    if (device < 0 || device >= machine.device_count) return fail_with(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (device < 0 || device >= machine.device_count) return fail_with(cudaErrorInvalidDevice);
    *value = attribute == cudaDevAttrMultiProcessorCount      ? machine.multiprocessors
             : attribute == cudaDevAttrComputeCapabilityMajor ? machine.compute_major
                                                              : machine.compute_minor;
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
    std::swap(*mode, capture_mode);
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
    // As if a stream were being captured all the time.
    if (capture_mode != cudaStreamCaptureModeRelaxed)
        return fail_with(cudaErrorStreamCaptureUnsupported);
    if (machine.no_kernel_image || machine.compute_major < 8)
        return fail_with(cudaErrorNoKernelImageForDevice);
    attributes->numRegs = 0;
    return cudaSuccess;
}

cudaError_t emulate_launch(const cudaLaunchConfig_t& config, const void* kernel,
                           const std::vector<unsigned char>& parameters,
                           const std::function<void()>& thread) {
    const dim3 grid = config.gridDim, block = config.blockDim;
    int pdl = 0;
    for (unsigned i = 0; i < config.numAttrs; ++i) {
        pdl |= config.attrs[i].val.programmaticStreamSerializationAllowed;
    }
    launches.push_back(
        {grid, block, config.stream, current_device, pdl, address_in_file(kernel), parameters});
    if (machine.fail_launch) return fail_with(machine.fail_launch);
    if (!configuration_valid(grid, block)) return fail_with(cudaErrorInvalidConfiguration);
    if (machine.record_only) return cudaSuccess;
    const ropescale::FloatModeGuard guard;
    gridDim = grid;
    blockDim = block;
    const uint64_t threads = uint64_t(block.x) * block.y * block.z;
    std::vector<uint64_t> ids(threads * grid.x * grid.y * grid.z);
    std::iota(ids.begin(), ids.end(), uint64_t(0));
    if (machine.order == 1) std::reverse(ids.begin(), ids.end());
    if (machine.order > 1) std::shuffle(ids.begin(), ids.end(), std::mt19937_64(machine.order));
    for (uint64_t id : ids) {
        const uint64_t b = id / threads, t = id % threads;
        blockIdx = dim3(unsigned(b % grid.x), unsigned(b / grid.x % grid.y),
                        unsigned(b / grid.x / grid.y));
        threadIdx = dim3(unsigned(t % block.x), unsigned(t / block.x % block.y),
                         unsigned(t / block.x / block.y));
        thread();
    }
    return cudaSuccess;
}

#define EMULATOR_API extern "C" __attribute__((visibility("default")))

EMULATOR_API void emulator_reset() {
    machine = Machine();
    launches.clear();
    current_device = 0;
    last_error = cudaSuccess;
}

// Sets a property of the machine by name. Returns false for an unknown name.
EMULATOR_API bool emulator_set(const char* name, int value) {
    const struct {
        const char* name;
        int* value;
    } properties[] = {{"driver_version", &machine.driver_version},
                      {"device_count", &machine.device_count},
                      {"compute_major", &machine.compute_major},
                      {"compute_minor", &machine.compute_minor},
                      {"multiprocessors", &machine.multiprocessors},
                      {"order", &machine.order},
                      {"fail_launch", &machine.fail_launch},
                      {"fail_set_device", &machine.fail_set_device},
                      {"no_kernel_image", &machine.no_kernel_image},
                      {"record_only", &machine.record_only},
                      {"current_device", &current_device}};
    for (const auto& property : properties) {
        if (std::string(property.name) == name) {
            *property.value = value;
            return true;
        }
    }
    return false;
}

EMULATOR_API int emulator_current_device() { return current_device; }
EMULATOR_API int emulator_last_error() { return last_error; }
EMULATOR_API int emulator_launches() { return int(launches.size()); }

// Fills `record` with grid x, y, z; block x, y, z; stream; device; pdl; kernel.
EMULATOR_API void emulator_launch(int index, int64_t (&record)[10]) {
    const Launch& launch = launches[size_t(index)];
    const int64_t values[10] = {launch.grid.x,
                                launch.grid.y,
                                launch.grid.z,
                                launch.block.x,
                                launch.block.y,
                                launch.block.z,
                                int64_t(reinterpret_cast<uintptr_t>(launch.stream)),
                                launch.device,
                                launch.pdl,
                                launch.kernel};
    std::copy(values, values + 10, record);
}

// Size of a launch's parameters, and their bytes.
EMULATOR_API int emulator_parameter_bytes(int index) {
    return int(launches[size_t(index)].parameters.size());
}
EMULATOR_API void emulator_parameters(int index, unsigned char* bytes) {
    const std::vector<unsigned char>& parameters = launches[size_t(index)].parameters;
    std::copy(parameters.begin(), parameters.end(), bytes);
}
