// The extension module `ropescale_kernels._C`. Arguments come checked by _check.py, or are accepted
// by fast_path.h.
#include <pybind11/pybind11.h>

#include <string>

#include "../kernels/parallel.h"
#include "../kernels/rotary_qk.h"
#include "../kernels/rotary_qk_cpu.h"
#include "fast_path.h"
#include "params.h"
#include "short_call.h"
#include "tensor_view.h"

namespace py = pybind11;

namespace ropescale {
namespace {

TensorReader& reader() {
    static TensorReader instance;
    return instance;
}

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

// Arguments are those of RotaryQKSpec; `table` is RotaryTable.state.
RotaryQKParams checked_params(py::handle q, py::handle k, py::handle q_out, py::handle k_out,
                              py::handle position_ids, py::handle profile_ids,
                              const py::tuple& table, bool interleaved, bool conjugate,
                              bool phase_float32) {
    const TensorReader& tensors = reader();
    RotaryQKViews v;
    v.q = tensors.read(q, "q");
    v.k = tensors.read(k, "k");
    v.q_out = tensors.read(q_out, "q_out");
    v.k_out = tensors.read(k_out, "k_out");
    v.position_ids = tensors.read(position_ids, "position_ids");
    v.profile_ids = tensors.read(profile_ids, "profile_ids");
    const bool table_ok = read_table(table, v.table, [&](py::handle x, TensorView& view) {
        view = tensors.read(x, "table");
        return true;
    });
    if (!table_ok) throw py::type_error("table: expected the state of a RotaryTable");
    return rotary_qk_params(v, interleaved, conjugate, phase_float32);
}

void rotary_qk(py::handle q, py::handle k, py::handle q_out, py::handle k_out,
               py::handle position_ids, py::handle profile_ids, const py::tuple& table,
               bool interleaved, bool conjugate, bool phase_float32, int num_threads) {
    launch(checked_params(q, k, q_out, k_out, position_ids, profile_ids, table, interleaved,
                          conjugate, phase_float32),
           num_threads);
}

// The same arguments, with the upstream gradients as q_out and k_out; fills two float32 tensors.
void scaling_grad(py::handle q, py::handle k, py::handle grad_q, py::handle grad_k,
                  py::handle position_ids, py::handle profile_ids, const py::tuple& table,
                  bool interleaved, bool conjugate, bool phase_float32, py::handle of_inv_freq,
                  py::handle of_factors, int num_threads) {
    const RotaryQKParams p = checked_params(q, k, grad_q, grad_k, position_ids, profile_ids, table,
                                            interleaved, conjugate, phase_float32);
    const TensorView inv_freq = reader().read(of_inv_freq, "of_inv_freq");
    const TensorView factors = reader().read(of_factors, "of_factors");
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
        return fast_rotary_qk(python_side(), reader(), arguments, count, &launch);
    } catch (py::error_already_set& error) {
        error.restore();
        return nullptr;
    }
}

PyMethodDef fast_call_method = {
    "fast_rotary_qk", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(fast_call)),
    METH_FASTCALL, nullptr};

void rotary_cos_sin(py::handle q, py::handle k, py::handle q_out, py::handle k_out, py::handle cos,
                    py::handle sin, py::handle position_ids, int64_t rotary_dim, bool interleaved,
                    bool conjugate, int num_threads) {
    const TensorReader& tensors = reader();
    RotaryCosSinViews v;
    v.q = tensors.read(q, "q");
    v.k = tensors.read(k, "k");
    v.q_out = tensors.read(q_out, "q_out");
    v.k_out = tensors.read(k_out, "k_out");
    v.cos = tensors.read(cos, "cos");
    v.sin = tensors.read(sin, "sin");
    v.position_ids = tensors.read(position_ids, "position_ids");
    launch(rotary_cos_sin_params(v, rotary_dim, interleaved, conjugate), num_threads);
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = ROPESCALE_COMPILER;
#if defined(ROPESCALE_HAVE_X86_ISAS)
    info["cpu_isas"] = py::make_tuple("baseline", "avx2", "avx512");
#else
    info["cpu_isas"] = py::make_tuple("baseline");
#endif
    info["best_cpu_isa"] = cpu_isa_name(best_cpu_isa());
    info["cuda"] = py::none();
    info["cuda_reason"] = ROPESCALE_CUDA_REASON;
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
    m.def("use_python",
          [](py::object table_type, py::object empty_like, py::object increment_version,
             py::object dispatch_stack_size, py::object forward_ad, py::object get_num_threads) {
              python_side() = {table_type,          empty_like, increment_version,
                               dispatch_stack_size, forward_ad, get_num_threads};
          });
    m.def("rotary_cos_sin", &rotary_cos_sin);
    m.def("use_tensor_type", [](py::handle type) { reader().use_type(type); });
    m.def("use_loaded_openmp", [](const std::string& preferred) {
        return std::string(use_loaded_openmp(preferred.c_str()));
    });
    m.def("build_info", &build_info);
    m.def("use_cpu_isa", &use_cpu_isa);
    m.def("cpu_isa", [] { return std::string(cpu_isa_name(chosen_isa())); });
    m.def("uses_dlpack", [] { return reader().uses_dlpack(); });
}
