#include "cpu_bindings.h"

#include <string>

#include "../kernels/parallel.h"
#include "../kernels/rotary_qk_cpu.h"
#include "spec_reader.h"

namespace py = pybind11;

namespace ropescale {
namespace {

CpuIsa& chosen_isa() {
    static CpuIsa isa = best_cpu_isa();
    return isa;
}

// Chooses an instruction set, or the best of this processor if it lacks the named one, so that no
// name leads to an illegal instruction. Returns the name of the chosen one.
std::string use_cpu_isa(const std::string& name) {
    for (CpuIsa isa : {CpuIsa::kBaseline, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
        if (name == cpu_isa_name(isa)) {
            chosen_isa() = isa < best_cpu_isa() ? isa : best_cpu_isa();
            return cpu_isa_name(chosen_isa());
        }
    }
    throw py::value_error("isa: expected baseline, avx2 or avx512, got " + name);
}

void rotary_qk(py::handle spec, int num_threads) {
    launch_on_cpu(read_rotary_qk(spec, dlpack::kCpu), num_threads);
}

void rotary_cos_sin(py::handle spec, int num_threads) {
    launch_on_cpu(read_rotary_cos_sin(spec, dlpack::kCpu), num_threads);
}

// The outputs of `spec` are the upstream gradients. Fills two float32 tensors.
void scaling_grad(py::handle spec, py::handle of_inv_freq, py::handle of_factors, int num_threads) {
    const RotaryQKParams p = read_rotary_qk(spec, dlpack::kCpu);
    const TensorReader& tensors = tensor_reader();
    const TensorView inv_freq = tensors.read(of_inv_freq, "of_inv_freq", dlpack::kCpu);
    const TensorView factors = tensors.read(of_factors, "of_factors", dlpack::kCpu);
    const CpuIsa isa = chosen_isa();
    py::gil_scoped_release release;
    launch_scaling_grad_cpu(p, isa, num_threads, static_cast<float*>(inv_freq.data),
                            static_cast<float*>(factors.data));
}

}  // namespace

void launch_on_cpu(const RotaryQKParams& p, int num_threads) {
    // Releasing the GIL and taking it again costs as much as rotating a few small rows.
    constexpr int64_t kLargeCall = 256 * 1024;  // bytes
    if (rotary_qk_bytes(p) < kLargeCall) return launch_rotary_qk_cpu(p, chosen_isa(), num_threads);
    const CpuIsa isa = chosen_isa();
    py::gil_scoped_release release;
    launch_rotary_qk_cpu(p, isa, num_threads);
}

void describe_cpu(py::dict& info) {
#if defined(ROPESCALE_HAVE_X86_ISAS)
    info["cpu_isas"] = py::make_tuple("baseline", "avx2", "avx512");
#else
    info["cpu_isas"] = py::make_tuple("baseline");
#endif
    info["best_cpu_isa"] = cpu_isa_name(best_cpu_isa());
}

void add_cpu_bindings(py::module_& m) {
    m.def("rotary_qk", &rotary_qk);
    m.def("rotary_cos_sin", &rotary_cos_sin);
    m.def("scaling_grad", &scaling_grad);
    m.def("use_cpu_isa", &use_cpu_isa);
    m.def("cpu_isa", [] { return std::string(cpu_isa_name(chosen_isa())); });
    m.def("use_loaded_openmp", [](const std::string& preferred) {
        return std::string(use_loaded_openmp(preferred.c_str()));
    });
}

}  // namespace ropescale
