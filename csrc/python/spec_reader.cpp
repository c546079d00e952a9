#include "spec_reader.h"

namespace py = pybind11;

namespace ropescale {
namespace {

// Reads attributes of a spec by name.
struct Spec {
    py::handle object;
    int32_t device_type;

    TensorView tensor(const char* name) const {
        return tensor_reader().read(object.attr(name), name, device_type);
    }
    bool flag(const char* name) const { return object.attr(name).cast<bool>(); }

    template <class Views>
    void read_heads(Views& v) const {
        v.q = tensor("q");
        v.k = tensor("k");
        v.q_out = tensor("q_out");
        v.k_out = tensor("k_out");
        v.position_ids = tensor("position_ids");
    }
};

}  // namespace

RotaryQKParams read_rotary_qk(py::handle object, int32_t device_type) {
    const Spec spec{object, device_type};
    RotaryQKViews v;
    spec.read_heads(v);
    v.profile_ids = spec.tensor("profile_ids");
    const py::tuple state = object.attr("table").attr("state");
    const bool table_ok = read_table(state, v.table, [&](py::handle x, TensorView& view) {
        view = tensor_reader().read(x, "table", device_type);
        return true;
    });
    if (!table_ok) throw py::type_error("table: expected the state of a RotaryTable");
    return rotary_qk_params(v, spec.flag("interleaved"), spec.flag("conjugate"),
                            spec.flag("phase_float32"));
}

RotaryQKParams read_rotary_cos_sin(py::handle object, int32_t device_type) {
    const Spec spec{object, device_type};
    RotaryCosSinViews v;
    spec.read_heads(v);
    v.cos = spec.tensor("cos");
    v.sin = spec.tensor("sin");
    const py::object axis_ids = object.attr("axis_ids");
    if (!axis_ids.is_none()) v.axis_ids = axis_ids.cast<std::string_view>();
    return rotary_cos_sin_params(v, object.attr("rotary_dim").cast<int64_t>(),
                                 spec.flag("interleaved"), spec.flag("conjugate"));
}

}  // namespace ropescale
