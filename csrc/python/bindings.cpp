// The extension module `ropescale_kernels._C`. Arguments are checked by ropescale_kernels.ops, or
// accepted by fast_check.h.
#include <pybind11/pybind11.h>

#include "cpu_bindings.h"
#include "cuda_bindings.h"
#include "fast_call.h"
#include "tensor_view.h"

namespace py = pybind11;

PYBIND11_MODULE(_C, m) {
    using namespace ropescale;
    m.doc() = "Compiled kernels of ropescale_kernels; not a public interface.";
    add_fast_call(m);
    add_cpu_bindings(m);
    add_cuda_bindings(m);
    m.def("set_tensor_type", [](py::handle type) { tensor_reader().set_tensor_type(type); });
    m.def("uses_dlpack", [] { return tensor_reader().uses_dlpack(); });
    m.def("build_info", [] {
        py::dict info;
        info["compiler"] = ROPESCALE_COMPILER;
        describe_cpu(info);
        describe_cuda(info);
        return info;
    });
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const CudaError& error) {
            const py::object& type = torch_functions().runtime_error;
            PyErr_SetString(type ? type.ptr() : PyExc_RuntimeError, error.what());
        }
    });
}
