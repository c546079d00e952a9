#include "cuda_bindings.h"

#include <string>

#include "../kernels/scaling_grad_cuda.h"
#include "spec_reader.h"

namespace py = pybind11;

namespace ropescale {
namespace {

// Emulated kernels read and write memory of the host.
#if defined(ROPESCALE_CUDA_EMULATED)
constexpr int32_t kDeviceType = dlpack::kCpu;
#else
constexpr int32_t kDeviceType = dlpack::kCuda;
#endif

CudaStream stream_of(int device, uintptr_t stream, bool pdl) {
    return {device, reinterpret_cast<void*>(stream), pdl};
}

void rotary_qk(py::handle spec, int device, uintptr_t stream, bool pdl) {
    launch_without_gil(read_rotary_qk(spec, kDeviceType), stream_of(device, stream, pdl));
}

void rotary_cos_sin(py::handle spec, int device, uintptr_t stream, bool pdl) {
    launch_without_gil(read_rotary_cos_sin(spec, kDeviceType), stream_of(device, stream, pdl));
}

void scaling_grad(py::handle spec, py::handle sums, int device, uintptr_t stream) {
    const TensorView view = tensor_reader().read(sums, "sums", kDeviceType);
    const RotaryQKParams params = read_rotary_qk(spec, kDeviceType);
    const py::gil_scoped_release release;
    launch_scaling_grad_cuda(params, stream_of(device, stream, false),
                             static_cast<double*>(view.data));
}

int load_cuda_kernels(int device) {
    return load_rotary_qk_kernels(device) + load_scaling_grad_kernels(device);
}

// Returns why the kernels cannot run on a device, or "" after loading all of them onto it. No
// launch loads a kernel then: a stream under capture might not allow loading.
std::string prepare_device(int device) {
    const std::string reason = cuda_unavailable(device);
    if (!reason.empty()) return reason;
    try {
        load_cuda_kernels(device);
    } catch (const CudaError& error) {
        return error.what();
    }
    return {};
}

}  // namespace

void launch_without_gil(const RotaryQKParams& params, const CudaStream& where) {
    const py::gil_scoped_release release;
    launch_rotary_qk_cuda(params, where);
}

bool cuda_ready(int device) {
    // 0: not asked yet, 1: ready, 2: not ready. The GIL guards it.
    static char known[64] = {};
    if (device < 0 || device >= 64) return false;
    if (!known[device]) known[device] = prepare_device(device).empty() ? 1 : 2;
    return known[device] == 1;
}

void describe_cuda(py::dict& info) {
#if defined(ROPESCALE_CUDA_ON)
    info["cuda"] =
        "CUDA " ROPESCALE_CUDA_COMPILER " for compute capabilities " ROPESCALE_CUDA_ARCHITECTURES;
    info["cuda_reason"] = py::none();
#elif defined(ROPESCALE_CUDA_EMULATED)
    info["cuda"] = "emulated on the host";
    info["cuda_reason"] = py::none();
#else
    info["cuda"] = py::none();
    info["cuda_reason"] = ROPESCALE_CUDA_REASON;
#endif
}

void add_cuda_bindings(py::module_& m) {
    m.def("rotary_qk_cuda", &rotary_qk);
    m.def("rotary_cos_sin_cuda", &rotary_cos_sin);
    m.def("scaling_grad_cuda", &scaling_grad);
    m.def("scaling_grad_groups", &scaling_grad_groups);
    m.def("load_cuda_kernels", &load_cuda_kernels);
    m.def("cuda_unavailable", &cuda_unavailable);
    m.def("prepare_device", &prepare_device);
    m.attr("cuda_device_type") = kDeviceType == dlpack::kCpu ? "cpu" : "cuda";
}

}  // namespace ropescale
