#include "short_call.h"

#include <stdlib.h>

#include "../kernels/rotary_qk_cpu.h"
#include "cuda_bindings.h"
#include "fast_path.h"
#include "params.h"

namespace py = pybind11;

namespace ropescale {
namespace {

// Names that are looked up in every call.
struct Names {
    PyObject* state = PyUnicode_InternFromString("state");
    PyObject* sources = PyUnicode_InternFromString("sources");
    PyObject* is_inference = PyUnicode_InternFromString("is_inference");
    PyObject* current_level = PyUnicode_InternFromString("_current_level");
};

const Names& names() {
    static const Names instance;
    return instance;
}

py::object get(PyObject* object, PyObject* name) {
    return py::reinterpret_steal<py::object>(PyObject_GetAttr(object, name));
}

// -1 where it is no number.
long as_number(const py::object& x) { return x ? PyLong_AsLong(x.ptr()) : -1; }

py::object call(const py::object& function) {
    return py::reinterpret_steal<py::object>(PyObject_CallNoArgs(function.ptr()));
}

py::object call(const py::object& function, PyObject* argument) {
    return py::reinterpret_steal<py::object>(PyObject_CallOneArg(function.ptr(), argument));
}

// Whether a dispatch mode sees every call, a level of forward-mode AD is entered, or the
// implementation is forced by the environment.
bool is_watched(const PythonSide& python) {
    const char* forced = getenv("ROPESCALE_IMPL");
    if (forced && *forced) return true;
    if (as_number(call(python.dispatch_stack_size)) != 0) return true;
    return as_number(get(python.forward_ad.ptr(), names().current_level)) != -1 || PyErr_Occurred();
}

// The table's state, or null where gradients would flow to its frequencies or factors.
py::object plain_state(PyObject* table) {
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

py::object current_stream(const PythonSide& python, int device) {
    const auto index = py::reinterpret_steal<py::object>(PyLong_FromLong(device));
    return call(python.current_stream, index.ptr());
}

// Lets autograd know of writes through raw pointers; inference tensors have nothing to tell.
bool bump_versions(const PythonSide& python, PyObject* q, PyObject* k) {
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
    return tuple && call(python.increment_version, tuple.ptr());
}

}  // namespace

PyObject* fast_rotary_qk(const PythonSide& python, const TensorReader& tensors,
                         PyObject* const* arguments, Py_ssize_t count,
                         void (*launch_on_cpu)(const RotaryQKParams&, int num_threads)) {
    const auto leave_it = [] {
        PyErr_Clear();
        Py_RETURN_NONE;
    };
    if (count != 8 || !python.table_type) return leave_it();
    PyObject *const q = arguments[0], *const k = arguments[1], *const out = arguments[7];
    PyObject *const interleaved = arguments[4], *const conjugate = arguments[5];
    if (!PyBool_Check(interleaved) || !PyBool_Check(conjugate)) return leave_it();
    if (reinterpret_cast<PyObject*>(Py_TYPE(arguments[3])) != python.table_type.ptr()) {
        return leave_it();
    }
    PyObject* const phase = arguments[6];
    if (!PyUnicode_Check(phase)) return leave_it();
    const bool phase_float32 = PyUnicode_CompareWithASCIIString(phase, "float32") == 0;
    if (!phase_float32 && PyUnicode_CompareWithASCIIString(phase, "exact") != 0) return leave_it();
    if (is_watched(python)) return leave_it();

    RotaryQKViews v;
    auto read = [&](py::handle x, TensorView& view) { return tensors.try_read(x, view); };
    if (!read(q, v.q) || !read(k, v.k) || !read(arguments[2], v.position_ids)) return leave_it();
    if (!is_bare(q) || !is_bare(k)) return leave_it();
    const py::object state = plain_state(arguments[3]);
    if (!state || !read_table(py::reinterpret_borrow<py::tuple>(state), v.table, read)) {
        return leave_it();
    }
    v.q_out = v.q;
    v.k_out = v.k;
    if (!inputs_valid(v)) return leave_it();
    const bool on_cuda = v.q.device.type == dlpack::kCuda;
    if (on_cuda && !cuda_ready(v.q.device.id)) return leave_it();
    py::object q_out, k_out = py::none();
    if (out == Py_None) {
        q_out = call(python.empty_like, q);
        if (k != Py_None) k_out = call(python.empty_like, k);
        if (!q_out || !k_out) return leave_it();
    } else if (out != Py_True) {
        if (!PyTuple_CheckExact(out) || PyTuple_GET_SIZE(out) != 2) return leave_it();
        q_out = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(out, 0));
        k_out = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(out, 1));
        if (!is_bare(q_out) || !is_bare(k_out)) return leave_it();
    }
    if (q_out && (!read(q_out, v.q_out) || !read(k_out, v.k_out))) return leave_it();
    if (!outputs_valid(v)) return leave_it();

    const RotaryQKParams params =
        rotary_qk_params(v, interleaved == Py_True, conjugate == Py_True, phase_float32);
    if (on_cuda) {
        const py::object stream = current_stream(python, v.q.device.id);
        void* const handle = stream ? PyLong_AsVoidPtr(stream.ptr()) : nullptr;
        if (PyErr_Occurred()) return nullptr;
        launch_unlocked(params, {v.q.device.id, handle});
    } else {
        int num_threads = 1;
        if (useful_threads(params) > 1) num_threads = int(as_number(call(python.get_num_threads)));
        launch_on_cpu(params, num_threads);
    }
    if (out != Py_None) {
        const bool bumped =
            q_out ? bump_versions(python, q_out.ptr(), k_out.ptr()) : bump_versions(python, q, k);
        if (!bumped) return nullptr;
    }
    if (!q_out) Py_RETURN_TRUE;
    return PyTuple_Pack(2, q_out.ptr(), k_out.ptr());
}

}  // namespace ropescale
