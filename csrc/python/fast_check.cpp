#include "fast_check.h"

namespace py = pybind11;

namespace ropescale {
namespace {

// Whether no two rows of (batch, seqlen, nheads, head_dim) share memory: heads lie within tokens or
// tokens within heads, and the stride of each axis spans the axes inside it.
bool rows_apart(const TensorView& x) {
    const int token = x.ndim - 3, head = x.ndim - 2;
    const int64_t width = x.shape[x.ndim - 1];
    const int inner = x.strides[head] <= x.strides[token] ? head : token;
    const int outer = inner == head ? token : head;
    const int batch = token - 1;  // -1: (num_tokens, nheads, head_dim) has none
    int64_t reach = width;
    for (int dim : {inner, outer, batch}) {
        if (dim < 0 || x.shape[dim] == 1) continue;
        if (x.strides[dim] < reach) return false;
        reach += (x.shape[dim] - 1) * x.strides[dim];
    }
    return true;
}

int64_t bytes_spanned(const TensorView& x) {
    int64_t last = 0;
    for (int i = 0; i < x.ndim; ++i) last += (x.shape[i] - 1) * x.strides[i];
    return (last + 1) * (x.dtype.bits / 8);
}

bool memory_apart(const TensorView& a, const TensorView& b) {
    const char *a_begin = a.as<char>(), *b_begin = b.as<char>();
    return a_begin + bytes_spanned(a) <= b_begin || b_begin + bytes_spanned(b) <= a_begin;
}

// Bytes from the first to the last element of one token. Heads must lie within tokens.
int64_t token_bytes(const TensorView& x) {
    const int head = x.ndim - 2;
    const int64_t last = (x.shape[head] - 1) * x.strides[head] + x.shape[x.ndim - 1];
    return last * (x.dtype.bits / 8);
}

// Whether two tensors are slices of one buffer of tokens, such as q and k of a packed qkv: tokens
// of equal index lie side by side within one stride.
bool tokens_alternate(const TensorView& a, const TensorView& b) {
    const int token = a.ndim - 3, batch = token - 1;
    const int64_t size = a.dtype.bits / 8, stride = a.strides[token] * size;
    if (a.strides[token] != b.strides[token]) return false;
    const char *a_begin = a.as<char>(), *b_begin = b.as<char>();
    const char *a_end = a_begin + token_bytes(a), *b_end = b_begin + token_bytes(b);
    if (a_end > b_begin && b_end > a_begin) return false;
    const char* begin = a_begin < b_begin ? a_begin : b_begin;
    const int64_t width = (a_end > b_end ? a_end : b_end) - begin;
    if (a.shape[token] > 1 && width > stride) return false;
    if (batch < 0 || a.shape[batch] == 1) return true;
    const int64_t sequence = (a.shape[token] - 1) * stride + width;
    return a.strides[batch] == b.strides[batch] && sequence <= a.strides[batch] * size;
}

bool never_overlap(const TensorView& a, const TensorView& b) {
    return a.is_none() || b.is_none() || memory_apart(a, b) || tokens_alternate(a, b);
}

bool same_view(const TensorView& a, const TensorView& b) {
    if (a.as<char>() != b.as<char>()) return false;
    for (int i = 0; i < a.ndim; ++i) {
        if (a.strides[i] != b.strides[i]) return false;
    }
    return true;
}

bool heads_valid(const TensorView& x) {
    return (x.ndim == 3 || x.ndim == 4) && x.is_float() && x.strides[x.ndim - 1] == 1 &&
           x.numel() > 0;
}

// Whether `out` can hold the rotation of `in`: it is the same view, or shares no memory with it.
bool output_valid(const TensorView& in, const TensorView& out) {
    if (in.is_none() || out.is_none()) return in.is_none() && out.is_none();
    if (!out.is_on(in.device) || out.ndim != in.ndim || out.dtype.code != in.dtype.code ||
        out.dtype.bits != in.dtype.bits || out.strides[out.ndim - 1] != 1) {
        return false;
    }
    for (int i = 0; i < in.ndim; ++i) {
        if (out.shape[i] != in.shape[i]) return false;
    }
    return rows_apart(out) && (same_view(in, out) || memory_apart(in, out));
}

// Whether `x` has the token axes of q, or is broadcast over the batch: (1, seqlen), (seqlen,).
bool tokens_match(const TensorView& x, const TensorView& q) {
    const int token_dims = q.ndim - 2;
    const int dims = x.ndim;
    if (dims < 1 || dims > token_dims) return false;
    if (x.shape[x.ndim - 1] != q.shape[token_dims - 1]) return false;
    return dims == 1 || x.shape[0] == q.shape[0] || x.shape[0] == 1;
}

// Whether every given tensor is on the device of q.
bool on_one_device(const RotaryQKViews& v) {
    const TableViews& t = v.table;
    for (const TensorView* x : {&v.k, &v.position_ids, &t.steps, &t.inv_freq, &t.factors,
                                &t.axis_ids, &t.pos_freqs, &t.ramp, &t.scales}) {
        if (!x->is_none() && !x->is_on(v.q.device)) return false;
    }
    return true;
}

}  // namespace

bool inputs_valid(const RotaryQKViews& v) {
    const TensorView& q = v.q;
    if (q.is_none() || !heads_valid(q) || !on_one_device(v)) return false;
    const int64_t head_dim = q.shape[q.ndim - 1];
    if (head_dim > kMaxHeadDim || 2 * v.table.steps.shape[1] > head_dim) return false;
    if (!v.k.is_none()) {
        if (!heads_valid(v.k) || v.k.ndim != q.ndim || v.k.dtype.code != q.dtype.code ||
            v.k.dtype.bits != q.dtype.bits || v.k.shape[q.ndim - 1] != head_dim) {
            return false;
        }
        for (int i = 0; i < q.ndim - 2; ++i) {
            if (v.k.shape[i] != q.shape[i]) return false;
        }
    }
    // Tables with M-RoPE sections fall back.
    const TensorView& positions = v.position_ids;
    if (!positions.is_int(32) && !positions.is_int(64)) return false;
    return v.table.axis_ids.is_none() && tokens_match(positions, q);
}

bool outputs_valid(const RotaryQKViews& v) {
    const TensorView& q = v.q;
    return output_valid(q, v.q_out) && output_valid(v.k, v.k_out) &&
           never_overlap(v.q_out, v.k_out) && never_overlap(v.q_out, v.k) &&
           never_overlap(q, v.k_out);
}

bool must_fall_back(py::handle tensor) {
    if (tensor.is_none()) return false;
    static PyObject* const requires_grad = PyUnicode_InternFromString("requires_grad");
    static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
    const py::object grad =
        py::reinterpret_steal<py::object>(PyObject_GetAttr(tensor.ptr(), requires_grad));
    const py::object negative =
        py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(tensor.ptr(), is_neg));
    if (!grad || !negative) {
        PyErr_Clear();
        return true;
    }
    return grad.ptr() != Py_False || negative.ptr() != Py_False;
}

}  // namespace ropescale
