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
    int ndim = 0;
    int64_t shape[kMaxDims] = {};
    int64_t strides[kMaxDims] = {};
    dlpack::DataType dtype = {};

    bool is_null() const { return data == nullptr && ndim == 0; }
    DType float_dtype(const char* name) const;
    // Refuses anything but 32-bit integers.
    template <class T>
    const T* words(const char* name) const {
        static_assert(sizeof(T) == 4);
        if (!is_null()) require_int(name, 32);
        return static_cast<const T*>(data);
    }
    void require_int(const char* name, int bits) const;
};

// Reads tensors through DLPack's exchange table where their type publishes one, else through their
// Python attributes.
class TensorReader {
  public:
    void use_type(pybind11::handle tensor_type);
    TensorView read(pybind11::handle tensor, const char* name) const;
    bool uses_dlpack() const { return api_ != nullptr; }

  private:
    TensorView read_attributes(pybind11::handle tensor) const;

    const dlpack::ExchangeApi* api_ = nullptr;
    PyTypeObject* type_ = nullptr;
};

}  // namespace ropescale
