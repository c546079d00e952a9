// The extension module `ropescale_kernels._C`. Arguments come checked by _check.py; what is looked
// at again here is only what a wrong value of would read or write out of bounds by type.
#include <pybind11/pybind11.h>

#include <string>

#include "../kernels/parallel.h"
#include "../kernels/rotary_qk.h"
#include "../kernels/rotary_qk_cpu.h"
#include "tensor_view.h"

namespace py = pybind11;

namespace ropescale {
namespace {

TensorReader& reader() {
    static TensorReader instance;
    return instance;
}

CpuIsa& chosen_isa() {
    static CpuIsa isa = best_cpu_isa();
    return isa;
}

// Clamps to what this processor has, so that a wrong name never ends in an illegal instruction.
std::string use_cpu_isa(const std::string& name) {
    for (CpuIsa isa : {CpuIsa::kBaseline, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
        if (name == cpu_isa_name(isa)) {
            chosen_isa() = isa < best_cpu_isa() ? isa : best_cpu_isa();
            return cpu_isa_name(chosen_isa());
        }
    }
    throw py::value_error("isa: expected baseline, avx2 or avx512, got " + name);
}

// (batch, seqlen, nheads, head_dim), or (num_tokens, nheads, head_dim) as a batch of one.
HeadsParams heads_params(const TensorView& in, const TensorView& out) {
    HeadsParams heads;
    if (in.is_null()) return heads;
    const int token = in.ndim - 3;
    heads.in = in.data;
    heads.out = out.data;
    heads.nheads = in.shape[token + 1];
    heads.in_stride_batch = token ? in.strides[0] : 0;
    heads.in_stride_token = in.strides[token];
    heads.in_stride_head = in.strides[token + 1];
    heads.out_stride_batch = token ? out.strides[0] : 0;
    heads.out_stride_token = out.strides[token];
    heads.out_stride_head = out.strides[token + 1];
    return heads;
}

// The stride of a dimension, 0 where it has one element for all.
int64_t broadcast_stride(const TensorView& x, int dim) {
    return x.shape[dim] == 1 ? 0 : x.strides[dim];
}

// ([axes,] [batch,] seqlen)
IndexParams index_params(const TensorView& x, bool has_axes, const char* name) {
    IndexParams index;
    if (x.is_null()) return index;
    index.is_int64 = x.dtype.bits == 64;
    x.require_int(name, index.is_int64 ? 64 : 32);
    index.data = x.data;
    index.stride_token = x.strides[x.ndim - 1];
    if (x.ndim - (has_axes ? 1 : 0) == 2) index.stride_batch = broadcast_stride(x, x.ndim - 2);
    index.stride_axis = has_axes ? x.strides[0] : 0;
    return index;
}

// 2 for (batch, seqlen, ...), 1 for (num_tokens, ...).
int token_dims_of(py::handle q) { return reader().read(q, "q").ndim - 2; }

RotaryQKParams base_params(py::handle q, py::handle k, py::handle q_out, py::handle k_out,
                           int64_t rotary_dim, bool interleaved, bool conjugate) {
    const TensorView q_view = reader().read(q, "q");
    RotaryQKParams p;
    if (q_view.ndim < 3) throw py::value_error("q: expected 3 or 4 dimensions");
    p.dtype = q_view.float_dtype("q");
    p.batch = q_view.ndim == 4 ? q_view.shape[0] : 1;
    p.seqlen = q_view.shape[q_view.ndim - 3];
    p.head_dim = q_view.shape[q_view.ndim - 1];
    p.rotary_dim = rotary_dim;
    p.interleaved = interleaved;
    p.conjugate = conjugate;
    p.q = heads_params(q_view, reader().read(q_out, "q_out"));
    p.k = heads_params(reader().read(k, "k"), reader().read(k_out, "k_out"));
    if (rotary_dim < 2 || rotary_dim > p.head_dim || rotary_dim > kMaxHeadDim) {
        throw py::value_error("rotary_dim: expected 2 to head_dim");
    }
    return p;
}

void launch(const RotaryQKParams& p, int num_threads) {
    // Giving the lock up and taking it back costs as much as a few small rows.
    constexpr int64_t kLargeCall = 256 * 1024;
    if (rotary_qk_bytes(p) < kLargeCall) return launch_rotary_qk_cpu(p, chosen_isa(), num_threads);
    const CpuIsa isa = chosen_isa();
    py::gil_scoped_release release;
    launch_rotary_qk_cpu(p, isa, num_threads);
}

// `table` is RotaryTable.state: (steps, inv_freq, factors, axis_ids, pos_freqs, ramp, scales).
void rotary_qk(py::handle q, py::handle k, py::handle q_out, py::handle k_out,
               py::handle position_ids, py::handle profile_ids, py::tuple table, bool interleaved,
               bool conjugate, bool phase_float32, int num_threads) {
    const TensorView steps = reader().read(table[0], "steps");
    RotaryQKParams p =
        base_params(q, k, q_out, k_out, 2 * steps.shape[1], interleaved, conjugate);
    TableParams& t = p.table;
    t.num_profiles = steps.shape[0];
    t.steps = steps.words<uint32_t>("steps");
    t.inv_freq = reader().read(table[1], "inv_freq").words<uint32_t>("inv_freq");
    t.factors = reader().read(table[2], "factors").words<uint32_t>("factors");
    t.axis_ids = reader().read(table[3], "axis_ids").words<int32_t>("axis_ids");
    t.pos_freqs = reader().read(table[4], "pos_freqs").words<uint32_t>("pos_freqs");
    t.ramp = reader().read(table[5], "ramp").words<uint32_t>("ramp");
    t.scales = reader().read(table[6], "scales").words<uint32_t>("scales");
    t.phase_float32 = phase_float32;

    const TensorView positions = reader().read(position_ids, "position_ids");
    const int token_dims = token_dims_of(q);
    const bool has_axes = t.axis_ids && positions.ndim > token_dims;
    t.position_ids = index_params(positions, has_axes, "position_ids");
    const TensorView profiles = reader().read(profile_ids, "profile_ids");
    if (!profiles.is_null()) {
        t.profile_ids = profiles.words<int32_t>("profile_ids");
        if (profiles.ndim == token_dims) {
            t.profile_stride_token = profiles.strides[profiles.ndim - 1];
            if (token_dims == 2) t.profile_stride_batch = broadcast_stride(profiles, 0);
        } else {
            t.profile_stride_batch = profiles.strides[0];
        }
    }
    launch(p, num_threads);
}

void rotary_cos_sin(py::handle q, py::handle k, py::handle q_out, py::handle k_out,
                    py::handle cos, py::handle sin, py::handle position_ids, int64_t rotary_dim,
                    bool interleaved, bool conjugate, int num_threads) {
    RotaryQKParams p = base_params(q, k, q_out, k_out, rotary_dim, interleaved, conjugate);
    CosSinParams& source = p.cos_sin;
    const TensorView cos_view = reader().read(cos, "cos");
    const TensorView sin_view = reader().read(sin, "sin");
    if (cos_view.ndim < 2 || sin_view.ndim != cos_view.ndim ||
        cos_view.shape[cos_view.ndim - 1] < rotary_dim / 2 ||
        sin_view.shape[sin_view.ndim - 1] < rotary_dim / 2) {
        throw py::value_error("cos, sin: expected rows of rotary_dim / 2");
    }
    source.cos = cos_view.data;
    source.sin = sin_view.data;
    source.dtype = cos_view.float_dtype("cos");
    if (sin_view.float_dtype("sin") != source.dtype) {
        throw py::type_error("sin: expected the dtype of cos");
    }
    const int row = cos_view.ndim - 2;
    source.cos_stride_token = broadcast_stride(cos_view, row);
    source.sin_stride_token = broadcast_stride(sin_view, row);
    if (row == 1) {
        source.cos_stride_batch = broadcast_stride(cos_view, 0);
        source.sin_stride_batch = broadcast_stride(sin_view, 0);
    }
    source.num_rows = cos_view.shape[row];
    source.rows = index_params(reader().read(position_ids, "position_ids"), false, "position_ids");
    launch(p, num_threads);
}

// `tensor_type` is torch.Tensor, `library_dir` the folder torch keeps its libraries in. Returns the
// OpenMP runtime found in the process, or "".
std::string bind_torch(py::handle tensor_type, const std::string& library_dir) {
    reader().use_type(tensor_type);
    return use_loaded_openmp(library_dir.c_str());
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = ROPESCALE_COMPILER;
#if defined(ROPESCALE_HAVE_X86_ISAS)
    info["cpu_isas"] = py::make_tuple("baseline", "avx2", "avx512");
#else
    info["cpu_isas"] = py::make_tuple("baseline");
#endif
    info["best_cpu_isa"] = cpu_isa_name(best_cpu_isa());
    info["cuda"] = py::none();
    info["cuda_reason"] = ROPESCALE_CUDA_REASON;
    return info;
}

}  // namespace
}  // namespace ropescale

PYBIND11_MODULE(_C, m) {
    using namespace ropescale;
    m.doc() = "Compiled kernels of ropescale_kernels; not a public interface.";
    m.def("rotary_qk", &rotary_qk);
    m.def("rotary_cos_sin", &rotary_cos_sin);
    m.def("bind_torch", &bind_torch);
    m.def("build_info", &build_info);
    m.def("use_cpu_isa", &use_cpu_isa);
    m.def("cpu_isa", [] { return std::string(cpu_isa_name(chosen_isa())); });
    m.def("uses_dlpack", [] { return reader().uses_dlpack(); });
}
