// The extension module `ropescale_kernels._C`. Arguments come checked by _check.py, or are accepted
// by fast_path.h.
#include <pybind11/pybind11.h>

#include <string>

#include "../kernels/parallel.h"
#include "../kernels/rotary_qk_cpu.h"
#include "arguments.h"
#include "cuda_bindings.h"
#include "fast_path.h"
#include "short_call.h"
#include "tensor_view.h"

namespace py = pybind11;

namespace ropescale {
namespace {

CpuIsa& chosen_isa() {
    static CpuIsa isa = best_cpu_isa();
    return isa;
}

// Clamps to what this processor has, so that a wrong name never ends in an illegal instruction.
std::string use_cpu_isa(const std::string& name) {
    for (CpuIsa isa : {CpuIsa::kBaseline, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
        if (name == cpu_isa_name(isa)) {
            chosen_isa() = isa < best_cpu_isa() ? isa : best_cpu_isa();
            return cpu_isa_name(chosen_isa());
        }
    }
    throw py::value_error("isa: expected baseline, avx2 or avx512, got " + name);
}

void launch(const RotaryQKParams& p, int num_threads) {
    // Giving the lock up and taking it back costs as much as a few small rows.
    constexpr int64_t kLargeCall = 256 * 1024;
    if (rotary_qk_bytes(p) < kLargeCall) return launch_rotary_qk_cpu(p, chosen_isa(), num_threads);
    const CpuIsa isa = chosen_isa();
    py::gil_scoped_release release;
    launch_rotary_qk_cpu(p, isa, num_threads);
}

void rotary_qk(py::handle spec, int num_threads) {
    launch(read_rotary_qk(spec, dlpack::kCpu), num_threads);
}

void rotary_cos_sin(py::handle spec, int num_threads) {
    launch(read_rotary_cos_sin(spec, dlpack::kCpu), num_threads);
}

// `spec` has the upstream gradients as its outputs; fills two float32 tensors.
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

PythonSide& python_side() {
    // Outlives the interpreter: nothing is left to give its references back to.
    static auto* instance = new PythonSide;
    return *instance;
}

PyObject* fast_call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    try {
        return fast_rotary_qk(python_side(), tensor_reader(), arguments, count, &launch);
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const CudaError& error) {
        PyErr_SetString(python_side().runtime_error.ptr(), error.what());
    }
    return nullptr;
}

PyMethodDef fast_call_method = {
    "fast_rotary_qk", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(fast_call)),
    METH_FASTCALL, nullptr};

py::dict build_info() {
    py::dict info;
    info["compiler"] = ROPESCALE_COMPILER;
#if defined(ROPESCALE_HAVE_X86_ISAS)
    info["cpu_isas"] = py::make_tuple("baseline", "avx2", "avx512");
#else
    info["cpu_isas"] = py::make_tuple("baseline");
#endif
    info["best_cpu_isa"] = cpu_isa_name(best_cpu_isa());
    describe_cuda(info);
    return info;
}

}  // namespace
}  // namespace ropescale

PYBIND11_MODULE(_C, m) {
    using namespace ropescale;
    m.doc() = "Compiled kernels of ropescale_kernels; not a public interface.";
    m.def("rotary_qk", &rotary_qk);
    m.def("scaling_grad", &scaling_grad);
    m.attr("fast_rotary_qk") =
        py::reinterpret_steal<py::object>(PyCFunction_New(&fast_call_method, nullptr));
    m.def("use_python", [](py::object table_type, py::object runtime_error, py::object empty_like,
                           py::object increment_version, py::object dispatch_stack_size,
                           py::object forward_ad, py::object get_num_threads,
                           py::object current_stream) {
        python_side() = {table_type,          runtime_error, empty_like,      increment_version,
                         dispatch_stack_size, forward_ad,    get_num_threads, current_stream};
    });
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const CudaError& error) {
            const py::object& type = python_side().runtime_error;
            PyErr_SetString(type ? type.ptr() : PyExc_RuntimeError, error.what());
        }
    });
    add_cuda_bindings(m);
    m.def("rotary_cos_sin", &rotary_cos_sin);
    m.def("use_tensor_type", [](py::handle type) { tensor_reader().use_type(type); });
    m.def("use_loaded_openmp", [](const std::string& preferred) {
        return std::string(use_loaded_openmp(preferred.c_str()));
    });
    m.def("build_info", &build_info);
    m.def("use_cpu_isa", &use_cpu_isa);
    m.def("cpu_isa", [] { return std::string(cpu_isa_name(chosen_isa())); });
    m.def("uses_dlpack", [] { return tensor_reader().uses_dlpack(); });
}
