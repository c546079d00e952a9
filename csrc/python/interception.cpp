#include "interception.h"

#include "python_calls.h"

namespace py = pybind11;

namespace ropescale {
namespace {

bool is_true(const py::object& x) { return x.ptr() == Py_True; }

// A default device is a function mode that changes no call of this package. torch keeps it at the
// bottom of the stack.
bool in_function_mode(const TorchFunctions& torch) {
    if (!is_true(call(torch.function_mode_enabled))) return false;
    if (as_number(call(torch.function_stack_size)) != 1) return true;
    static PyObject* const bottom = PyLong_FromLong(0);
    const py::object mode = call(torch.function_stack_at, bottom);
    return !mode || reinterpret_cast<PyObject*>(Py_TYPE(mode.ptr())) != torch.device_context.ptr();
}

// torch keeps these modes apart from the dispatch stack: in fields that are None, or lists of None.
bool in_pre_dispatch_mode(const TorchFunctions& torch) {
    PyObject* field = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(torch.pre_dispatch_modes.ptr(), &at, nullptr, &field)) {
        if (field == Py_None) continue;
        if (!PyList_CheckExact(field)) return true;
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(field); ++i) {
            if (PyList_GET_ITEM(field, i) != Py_None) return true;
        }
    }
    return false;
}

bool in_forward_ad(const TorchFunctions& torch) {
    static PyObject* const current_level = PyUnicode_InternFromString("_current_level");
    PyObject* const level = PyDict_GetItemWithError(torch.forward_ad.ptr(), current_level);
    return !level || PyLong_AsLong(level) != -1;
}

bool is_profiled(const TorchFunctions& torch) {
    static PyObject* const enabled = PyUnicode_InternFromString("_is_profiler_enabled");
    return PyDict_GetItemWithError(torch.profiler.ptr(), enabled) == Py_True;
}

void finish(const py::object& record) {
    static PyObject* const exit = PyUnicode_InternFromString("__exit__");
    Py_XDECREF(PyObject_CallMethodObjArgs(record.ptr(), exit, Py_None, Py_None, Py_None, nullptr));
}

}  // namespace

bool is_intercepted(const TorchFunctions& torch) {
    return as_number(call(torch.dispatch_stack_size)) != 0 || is_true(call(torch.is_tracing)) ||
           in_function_mode(torch) || in_pre_dispatch_mode(torch) || in_forward_ad(torch) ||
           PyErr_Occurred();
}

ProfiledLaunch::ProfiledLaunch(const TorchFunctions& torch, bool in_place) {
    if (!is_profiled(torch)) return;
    static PyObject* const enter = PyUnicode_InternFromString("__enter__");
    static PyObject* const name = PyUnicode_InternFromString("ropescale::rotary_qk");
    static PyObject* const name_in_place = PyUnicode_InternFromString("ropescale::rotary_qk_");
    record_ = call(torch.record_function, in_place ? name_in_place : name);
    if (record_) Py_XDECREF(PyObject_CallMethodNoArgs(record_.ptr(), enter));
    PyErr_Clear();
}

ProfiledLaunch::~ProfiledLaunch() {
    if (!record_) return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    finish(record_);
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

}  // namespace ropescale
