#include "tensor_view.h"

#include <string>

namespace py = pybind11;

namespace ropescale {

TensorReader& tensor_reader() {
    static TensorReader instance;
    return instance;
}

int64_t TensorView::numel() const {
    int64_t product = 1;
    for (int i = 0; i < ndim; ++i) product *= shape[i];
    return product;
}

bool TensorView::is_float() const {
    return (dtype.code == dlpack::kFloat && (dtype.bits == 32 || dtype.bits == 16)) ||
           (dtype.code == dlpack::kBfloat && dtype.bits == 16);
}

DType TensorView::float_dtype() const {
    if (dtype.bits == 32) return ROPESCALE_FLOAT32;
    return dtype.code == dlpack::kBfloat ? ROPESCALE_BFLOAT16 : ROPESCALE_FLOAT16;
}

void TensorReader::set_tensor_type(py::handle tensor_type) {
    // One reference is kept for good, because the type must outlive this module.
    tensor_type.inc_ref();
    type_ = reinterpret_cast<PyTypeObject*>(tensor_type.ptr());
    api_ = nullptr;
    py::object capsule = py::getattr(tensor_type, "__dlpack_c_exchange_api__", py::none());
    if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return;
    auto* api = static_cast<const dlpack::ExchangeApi*>(
        PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    if (api->version.major == 1 && api->tensor_from_object) api_ = api;
}

TensorView TensorReader::read(py::handle tensor, const char* name, int32_t device_type) const {
    TensorView view;
    if (tensor.is_none()) return view;
    if (!type_ || !PyObject_TypeCheck(tensor.ptr(), type_)) {
        throw py::type_error(std::string(name) + ": expected a torch.Tensor, got " +
                             Py_TYPE(tensor.ptr())->tp_name);
    }
    const bool ok = api_ ? read_dlpack(tensor, view) : read_attributes(tensor, view);
    if (!ok || view.device.type != device_type) {
        if (PyErr_Occurred()) throw py::error_already_set();
        const char* kind = device_type == dlpack::kCpu ? "CPU" : "CUDA";
        throw py::value_error(std::string(name) + ": expected a dense " + kind +
                              " tensor with data and at most 4 dimensions");
    }
    return view;
}

bool TensorReader::try_read(py::handle tensor, TensorView& view) const {
    view = TensorView{};
    if (tensor.is_none()) return true;
    if (Py_TYPE(tensor.ptr()) != type_) return false;
    const bool ok = api_ ? read_dlpack(tensor, view) : read_attributes(tensor, view);
    if (!ok) PyErr_Clear();
    return ok;
}

bool TensorReader::read_dlpack(py::handle tensor, TensorView& view) const {
    dlpack::Tensor borrowed;
    if (api_->tensor_from_object(tensor.ptr(), &borrowed)) return false;
    const int32_t type = borrowed.device.type;
    if (type != dlpack::kCpu && type != dlpack::kCuda) return false;
    if (borrowed.ndim > TensorView::kMaxDims) return false;
    view.device = borrowed.device;
    view.data = borrowed.data ? static_cast<char*>(borrowed.data) + borrowed.byte_offset : nullptr;
    view.ndim = borrowed.ndim;
    view.dtype = borrowed.dtype;
    for (int i = 0; i < view.ndim; ++i) {
        view.shape[i] = borrowed.shape[i];
        view.strides[i] = borrowed.strides[i];
    }
    return view.data || view.numel() == 0;
}

bool TensorReader::read_attributes(py::handle tensor, TensorView& view) const {
    const py::object device = tensor.attr("device");
    const std::string type = py::str(device.attr("type"));
    const py::tuple shape = tensor.attr("shape");
    const py::tuple strides = tensor.attr("stride")();
    const std::string dtype = py::str(tensor.attr("dtype"));
    if ((type != "cpu" && type != "cuda") || shape.size() > TensorView::kMaxDims) return false;
    view.device = {dlpack::kCpu, 0};
    if (type == "cuda") view.device = {dlpack::kCuda, device.attr("index").cast<int32_t>()};
    view.data = reinterpret_cast<void*>(tensor.attr("data_ptr")().cast<uintptr_t>());
    view.ndim = int(shape.size());
    for (int i = 0; i < view.ndim; ++i) {
        view.shape[i] = shape[size_t(i)].cast<int64_t>();
        view.strides[i] = strides[size_t(i)].cast<int64_t>();
    }
    const uint8_t bits = uint8_t(tensor.attr("element_size")().cast<int>() * 8);
    if (dtype == "torch.bfloat16") {
        view.dtype = {dlpack::kBfloat, bits, 1};
    } else if (dtype == "torch.int32" || dtype == "torch.int64") {
        view.dtype = {dlpack::kInt, bits, 1};
    } else if (dtype == "torch.float32" || dtype == "torch.float16" || dtype == "torch.float64") {
        view.dtype = {dlpack::kFloat, bits, 1};
    } else {
        return false;
    }
    return view.data || view.numel() == 0;
}

}  // namespace ropescale
