// The part of DLPack's C ABI (major version 1) that the bindings read, declared from the DLPack
// specification: a borrowed view of a tensor, and the exchange table that a tensor type publishes
// as `__dlpack_c_exchange_api__`. The order and the sizes of the fields are the ABI.
#pragma once

#include <stdint.h>

namespace ropescale::dlpack {

struct Device {
    int32_t type;  // kCpu, kCuda, ...
    int32_t id;
};
constexpr int32_t kCpu = 1, kCuda = 2;

struct DataType {
    uint8_t code;  // kInt, kFloat, ...
    uint8_t bits;
    uint16_t lanes;
};
constexpr uint8_t kInt = 0, kFloat = 2, kBfloat = 4;

struct Tensor {
    void* data;
    Device device;
    int32_t ndim;
    DataType dtype;
    int64_t* shape;
    int64_t* strides;  // in elements
    uint64_t byte_offset;
};

struct Version {
    uint32_t major;
    uint32_t minor;
};

struct ExchangeApi {
    Version version;
    void* previous;
    void* managed_tensor_allocator;
    void* managed_tensor_from_object;
    void* managed_tensor_to_object;
    int (*tensor_from_object)(void* object, Tensor* out);  // borrowed, no synchronisation
    void* current_work_stream;
};

}  // namespace ropescale::dlpack
