// From tensor views of a call to the kernel's parameters.
#pragma once

#include <pybind11/pybind11.h>

#include <string_view>

#include "../kernels/rotary_qk.h"
#include "tensor_view.h"

namespace ropescale {

// The tensors of RotaryTable.state in its order, under the names of ropescale.h. Float32 values are
// stored as int32 bits.
struct TableViews {
    TensorView steps, inv_freq, factors, axis_ids, pos_freqs, ramp, scales;
};

struct RotaryQKViews {
    TensorView q, k, q_out, k_out;
    TensorView position_ids, profile_ids;
    TableViews table;
};

RotaryQKParams rotary_qk_params(const RotaryQKViews& views, bool interleaved, bool conjugate,
                                bool phase_float32);

struct RotaryCosSinViews {
    TensorView q, k, q_out, k_out;
    TensorView cos, sin, position_ids;
    std::string_view axis_ids;  // M-RoPE axis of each pair; empty if cos and sin have no axes
};

RotaryQKParams rotary_cos_sin_params(const RotaryCosSinViews& views, int64_t rotary_dim,
                                     bool interleaved, bool conjugate);

// Reads the tensors of RotaryTable.state with `read(handle, view)`. Returns false if a read fails
// or a tensor is not what a RotaryTable holds.
template <class Read>
bool read_table(const pybind11::tuple& state, TableViews& table, Read read) {
    TensorView* views[] = {&table.steps,     &table.inv_freq, &table.factors, &table.axis_ids,
                           &table.pos_freqs, &table.ramp,     &table.scales};
    if (state.size() != 7) return false;
    for (size_t i = 0; i < 7; ++i) {
        if (!read(pybind11::handle(PyTuple_GET_ITEM(state.ptr(), Py_ssize_t(i))), *views[i])) {
            return false;
        }
        if (!views[i]->is_none() && !views[i]->is_int(32)) return false;
    }
    return table.steps.ndim == 3;
}

}  // namespace ropescale
