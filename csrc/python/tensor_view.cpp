#include "tensor_view.h"

#include <string>

namespace py = pybind11;

namespace ropescale {

DType TensorView::float_dtype(const char* name) const {
    if (dtype.code == dlpack::kFloat && dtype.bits == 32) return DType::kFloat32;
    if (dtype.code == dlpack::kFloat && dtype.bits == 16) return DType::kFloat16;
    if (dtype.code == dlpack::kBfloat && dtype.bits == 16) return DType::kBFloat16;
    throw py::type_error(std::string(name) + ": expected float32, float16 or bfloat16");
}

void TensorView::require_int(const char* name, int bits) const {
    if (dtype.code == dlpack::kInt && dtype.bits == bits) return;
    throw py::type_error(std::string(name) + ": expected int" + std::to_string(bits));
}

void TensorReader::use_type(py::handle tensor_type) {
    // The type outlives the module's use of it: one reference is never given back.
    tensor_type.inc_ref();
    type_ = reinterpret_cast<PyTypeObject*>(tensor_type.ptr());
    api_ = nullptr;
    py::object capsule = py::getattr(tensor_type, "__dlpack_c_exchange_api__", py::none());
    if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return;
    auto* api = static_cast<const dlpack::ExchangeApi*>(
        PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    if (api->version.major == 1 && api->tensor_from_object) api_ = api;
}

TensorView TensorReader::read(py::handle tensor, const char* name) const {
    if (tensor.is_none()) return {};
    if (!type_ || !PyObject_TypeCheck(tensor.ptr(), type_)) {
        throw py::type_error(std::string(name) + ": expected a torch.Tensor, got " +
                             Py_TYPE(tensor.ptr())->tp_name);
    }
    TensorView view;
    if (api_) {
        dlpack::Tensor borrowed;
        if (api_->tensor_from_object(tensor.ptr(), &borrowed)) throw py::error_already_set();
        if (borrowed.device.type != dlpack::kCpu) {
            throw py::value_error(std::string(name) + ": expected a tensor on the CPU");
        }
        if (borrowed.ndim > TensorView::kMaxDims) {
            throw py::value_error(std::string(name) + ": expected at most 4 dimensions");
        }
        view.data = static_cast<char*>(borrowed.data) + borrowed.byte_offset;
        view.ndim = borrowed.ndim;
        view.dtype = borrowed.dtype;
        for (int i = 0; i < view.ndim; ++i) {
            view.shape[i] = borrowed.shape[i];
            view.strides[i] = borrowed.strides[i];
        }
    } else {
        view = read_attributes(tensor);
    }
    int64_t numel = 1;
    for (int i = 0; i < view.ndim; ++i) numel *= view.shape[i];
    if (!view.data && numel > 0) {
        throw py::value_error(std::string(name) + ": expected a tensor with storage");
    }
    return view;
}

TensorView TensorReader::read_attributes(py::handle tensor) const {
    TensorView view;
    view.data = reinterpret_cast<void*>(tensor.attr("data_ptr")().cast<uintptr_t>());
    const py::tuple shape = tensor.attr("shape");
    const py::tuple strides = tensor.attr("stride")();
    if (shape.size() > TensorView::kMaxDims) {
        throw py::value_error("expected at most 4 dimensions");
    }
    view.ndim = int(shape.size());
    for (int i = 0; i < view.ndim; ++i) {
        view.shape[i] = shape[size_t(i)].cast<int64_t>();
        view.strides[i] = strides[size_t(i)].cast<int64_t>();
    }
    const std::string dtype = py::str(tensor.attr("dtype"));  // "torch.float32"
    const uint8_t bits = uint8_t(tensor.attr("element_size")().cast<int>() * 8);
    if (dtype == "torch.bfloat16") {
        view.dtype = {dlpack::kBfloat, bits, 1};
    } else if (dtype == "torch.int32" || dtype == "torch.int64") {
        view.dtype = {dlpack::kInt, bits, 1};
    } else if (dtype == "torch.float32" || dtype == "torch.float16") {
        view.dtype = {dlpack::kFloat, bits, 1};
    } else {
        throw py::type_error("unsupported dtype " + dtype);
    }
    return view;
}

}  // namespace ropescale
