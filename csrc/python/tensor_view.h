// A borrowed view of a torch tensor. No header and no symbol of torch is used.
#pragma once

#include <pybind11/pybind11.h>
#include <stdint.h>

#include "../kernels/rotary_qk.h"
#include "dlpack_abi.h"

namespace ropescale {

struct TensorView {
    static constexpr int kMaxDims = 4;
    void* data = nullptr;
    int ndim = -1;  // -1 for None
    int64_t shape[kMaxDims] = {};
    int64_t strides[kMaxDims] = {};  // in elements
    dlpack::DataType dtype = {};
    dlpack::Device device = {};

    bool is_none() const { return ndim < 0; }
    int64_t numel() const;
    bool is_int(int bits) const { return dtype.code == dlpack::kInt && dtype.bits == bits; }
    bool is_float() const;
    DType float_dtype() const;  // defined if is_float()
    bool is_on(const dlpack::Device& other) const {
        return device.type == other.type && device.id == other.id;
    }
    // The stride of a dimension. A dimension of size 1 is broadcast, so its stride is 0.
    int64_t broadcast_stride(int dim) const { return shape[dim] == 1 ? 0 : strides[dim]; }
    template <class T>
    const T* as() const {
        return static_cast<const T*>(data);
    }
};

// Reads tensors of the CPU and of CUDA devices: through DLPack's exchange table if the tensor type
// publishes one, else through Python attributes.
class TensorReader {
  public:
    void set_tensor_type(pybind11::handle tensor_type);
    // Accepts None and a dense tensor of at most 4 dimensions on a device of `device_type`. Throws
    // for anything else.
    TensorView read(pybind11::handle tensor, const char* name, int32_t device_type) const;
    // Returns false for a subclass, and for a tensor that read() refuses on every device. Through
    // DLPack, a refusal costs no exception.
    bool try_read(pybind11::handle tensor, TensorView& view) const;
    bool uses_dlpack() const { return api_ != nullptr; }

  private:
    bool read_dlpack(pybind11::handle tensor, TensorView& view) const;
    bool read_attributes(pybind11::handle tensor, TensorView& view) const;

    const dlpack::ExchangeApi* api_ = nullptr;
    PyTypeObject* type_ = nullptr;
};

// The instance of this module.
TensorReader& tensor_reader();

}  // namespace ropescale
