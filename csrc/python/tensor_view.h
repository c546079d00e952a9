// A borrowed look at a torch tensor, without a header or a symbol of torch.
#pragma once

#include <pybind11/pybind11.h>
#include <stdint.h>

#include "../kernels/rotary_qk.h"
#include "dlpack_abi.h"

namespace ropescale {

struct TensorView {
    static constexpr int kMaxDims = 4;
    void* data = nullptr;
    int ndim = -1;  // -1: None was given
    int64_t shape[kMaxDims] = {};
    int64_t strides[kMaxDims] = {};  // in elements
    dlpack::DataType dtype = {};
    dlpack::Device device = {};

    bool is_none() const { return ndim < 0; }
    int64_t numel() const;
    bool is_int(int bits) const { return dtype.code == dlpack::kInt && dtype.bits == bits; }
    bool is_float() const;
    DType float_dtype() const;  // of a tensor that is_float()
    bool is_on(const dlpack::Device& other) const {
        return device.type == other.type && device.id == other.id;
    }
    // The stride of a dimension, 0 where it has one element for all.
    int64_t broadcast_stride(int dim) const { return shape[dim] == 1 ? 0 : strides[dim]; }
    template <class T>
    const T* as() const {
        return static_cast<const T*>(data);
    }
};

// Reads tensors of the CPU and of CUDA devices through DLPack's exchange table where their type
// publishes one, else through their Python attributes.
class TensorReader {
  public:
    void use_type(pybind11::handle tensor_type);
    // Throws for anything but None and a dense tensor of at most four dimensions on a device of
    // `device_type`.
    TensorView read(pybind11::handle tensor, const char* name, int32_t device_type) const;
    // False where read() would throw on any device, and for subclasses. Costs no exception.
    bool try_read(pybind11::handle tensor, TensorView& view) const;
    bool uses_dlpack() const { return api_ != nullptr; }

  private:
    bool read_dlpack(pybind11::handle tensor, TensorView& view) const;
    bool read_attributes(pybind11::handle tensor, TensorView& view) const;

    const dlpack::ExchangeApi* api_ = nullptr;
    PyTypeObject* type_ = nullptr;
};

}  // namespace ropescale
