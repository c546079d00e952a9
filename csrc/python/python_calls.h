// Calls of Python objects without the conversions of pybind11. A null result means that an error is
// set.
#pragma once

#include <pybind11/pybind11.h>

namespace ropescale {

inline pybind11::object get(PyObject* object, PyObject* name) {
    return pybind11::reinterpret_steal<pybind11::object>(PyObject_GetAttr(object, name));
}

inline pybind11::object call(const pybind11::object& function) {
    return pybind11::reinterpret_steal<pybind11::object>(PyObject_CallNoArgs(function.ptr()));
}

inline pybind11::object call(const pybind11::object& function, PyObject* argument) {
    return pybind11::reinterpret_steal<pybind11::object>(
        PyObject_CallOneArg(function.ptr(), argument));
}

// Returns -1 with an error set if `x` is null or no number.
inline long as_number(const pybind11::object& x) { return x ? PyLong_AsLong(x.ptr()) : -1; }

}  // namespace ropescale
