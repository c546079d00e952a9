#include "fast_call.h"

#include <stdlib.h>

#include "../kernels/rotary_qk_cpu.h"
#include "cpu_bindings.h"
#include "cuda_bindings.h"
#include "fast_check.h"
#include "interception.h"
#include "python_calls.h"
#include "tensor_view.h"

namespace py = pybind11;

namespace ropescale {
namespace {

// Attribute names that every call looks up.
struct Names {
    PyObject* state = PyUnicode_InternFromString("state");
    PyObject* sources = PyUnicode_InternFromString("sources");
    PyObject* is_inference = PyUnicode_InternFromString("is_inference");
};

const Names& names() {
    static const Names instance;
    return instance;
}

// Whether ROPESCALE_IMPL names an implementation.
bool is_forced() {
    const char* forced = getenv("ROPESCALE_IMPL");
    return forced && *forced;
}

// Returns the table's state, or null if its frequencies or attention factors take part in autograd.
py::object state_without_grad(PyObject* table) {
    const py::object sources = get(table, names().sources);
    if (!sources || !PyTuple_CheckExact(sources.ptr()) || PyTuple_GET_SIZE(sources.ptr()) != 2) {
        return {};
    }
    for (Py_ssize_t i = 0; i < 2; ++i) {
        if (PyTuple_GET_ITEM(sources.ptr(), i) != Py_None) return {};
    }
    py::object state = get(table, names().state);
    return state && PyTuple_CheckExact(state.ptr()) ? state : py::object();
}

py::object current_stream(const TorchFunctions& torch, int device) {
    const auto index = py::reinterpret_steal<py::object>(PyLong_FromLong(device));
    return call(torch.current_stream, index.ptr());
}

// Tells autograd of writes through raw pointers. Inference tensors have no version counter.
bool bump_versions(const TorchFunctions& torch, PyObject* q, PyObject* k) {
    PyObject* written[2];
    Py_ssize_t count = 0;
    for (PyObject* x : {q, k}) {
        if (x == Py_None) continue;
        const auto inference =
            py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(x, names().is_inference));
        if (!inference) return false;
        if (inference.ptr() == Py_False) written[count++] = x;
    }
    if (!count) return true;
    const auto tuple = py::reinterpret_steal<py::object>(
        count == 2 ? PyTuple_Pack(2, written[0], written[1]) : PyTuple_Pack(1, written[0]));
    return tuple && call(torch.increment_version, tuple.ptr());
}

}  // namespace

TorchFunctions& torch_functions() {
    // Never destroyed, because the interpreter may end before this module's static objects do.
    static auto* instance = new TorchFunctions;
    return *instance;
}

PyObject* fast_rotary_qk(PyObject* const* arguments, Py_ssize_t count) {
    const TorchFunctions& torch = torch_functions();
    const TensorReader& tensors = tensor_reader();
    const auto fall_back = [] {
        PyErr_Clear();
        Py_RETURN_NONE;
    };
    if (count != 8 || !torch.table_type) return fall_back();
    PyObject *const q = arguments[0], *const k = arguments[1], *const out = arguments[7];
    PyObject *const interleaved = arguments[4], *const conjugate = arguments[5];
    if (!PyBool_Check(interleaved) || !PyBool_Check(conjugate)) return fall_back();
    if (reinterpret_cast<PyObject*>(Py_TYPE(arguments[3])) != torch.table_type.ptr()) {
        return fall_back();
    }
    PyObject* const phase = arguments[6];
    if (!PyUnicode_Check(phase)) return fall_back();
    const bool phase_float32 = PyUnicode_CompareWithASCIIString(phase, "float32") == 0;
    if (!phase_float32 && PyUnicode_CompareWithASCIIString(phase, "exact") != 0) return fall_back();
    if (is_forced() || is_intercepted(torch)) return fall_back();

    RotaryQKViews v;
    auto read = [&](py::handle x, TensorView& view) { return tensors.try_read(x, view); };
    if (!read(q, v.q) || !read(k, v.k) || !read(arguments[2], v.position_ids)) return fall_back();
    if (must_fall_back(q) || must_fall_back(k)) return fall_back();
    const py::object state = state_without_grad(arguments[3]);
    if (!state || !read_table(py::reinterpret_borrow<py::tuple>(state), v.table, read)) {
        return fall_back();
    }
    v.q_out = v.q;
    v.k_out = v.k;
    if (!inputs_valid(v)) return fall_back();
    const bool on_cuda = v.q.device.type == dlpack::kCuda;
    if (on_cuda && !cuda_ready(v.q.device.id)) return fall_back();
    py::object q_out, k_out = py::none();
    if (out == Py_None) {
        q_out = call(torch.empty_like, q);
        if (k != Py_None) k_out = call(torch.empty_like, k);
        if (!q_out || !k_out) return fall_back();
    } else if (out != Py_True) {
        if (!PyTuple_CheckExact(out) || PyTuple_GET_SIZE(out) != 2) return fall_back();
        q_out = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(out, 0));
        k_out = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(out, 1));
        if (must_fall_back(q_out) || must_fall_back(k_out)) return fall_back();
    }
    if (q_out && (!read(q_out, v.q_out) || !read(k_out, v.k_out))) return fall_back();
    if (!outputs_valid(v)) return fall_back();

    const RotaryQKParams params =
        rotary_qk_params(v, interleaved == Py_True, conjugate == Py_True, phase_float32);
    if (on_cuda) {
        const py::object stream = current_stream(torch, v.q.device.id);
        void* const handle = stream ? PyLong_AsVoidPtr(stream.ptr()) : nullptr;
        if (PyErr_Occurred()) return nullptr;
        const ProfiledLaunch profiled(torch, out == Py_True);
        launch_without_gil(params, {v.q.device.id, handle});
    } else {
        int num_threads = 1;
        if (useful_threads(params) > 1) num_threads = int(as_number(call(torch.get_num_threads)));
        const ProfiledLaunch profiled(torch, out == Py_True);
        launch_on_cpu(params, num_threads);
    }
    if (out != Py_None) {
        const bool bumped =
            q_out ? bump_versions(torch, q_out.ptr(), k_out.ptr()) : bump_versions(torch, q, k);
        if (!bumped) return nullptr;
    }
    if (!q_out) Py_RETURN_TRUE;
    return PyTuple_Pack(2, q_out.ptr(), k_out.ptr());
}

namespace {

PyObject* call_fast_rotary_qk(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    try {
        return fast_rotary_qk(arguments, count);
    } catch (py::error_already_set& error) {
        error.restore();
    } catch (const CudaError& error) {
        PyErr_SetString(torch_functions().runtime_error.ptr(), error.what());
    }
    return nullptr;
}

PyMethodDef fast_rotary_qk_method = {
    "fast_rotary_qk",
    reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_fast_rotary_qk)), METH_FASTCALL,
    nullptr};

}  // namespace

void add_fast_call(py::module_& m) {
    m.attr("fast_rotary_qk") =
        py::reinterpret_steal<py::object>(PyCFunction_New(&fast_rotary_qk_method, nullptr));
    m.def("set_torch_functions", [](const py::kwargs& given) {
        TorchFunctions& torch = torch_functions();
        torch.table_type = given["table_type"];
        torch.runtime_error = given["runtime_error"];
        torch.empty_like = given["empty_like"];
        torch.increment_version = given["increment_version"];
        torch.get_num_threads = given["get_num_threads"];
        torch.current_stream = given["current_stream"];
        torch.dispatch_stack_size = given["dispatch_stack_size"];
        torch.is_tracing = given["is_tracing"];
        torch.function_mode_enabled = given["function_mode_enabled"];
        torch.function_stack_size = given["function_stack_size"];
        torch.function_stack_at = given["function_stack_at"];
        torch.device_context = given["device_context"];
        torch.pre_dispatch_modes = given["pre_dispatch_modes"];
        torch.forward_ad = given["forward_ad"];
        torch.profiler = given["profiler"];
        torch.record_function = given["record_function"];
    });
}

}  // namespace ropescale
