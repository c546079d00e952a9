#include "views_to_params.h"

#include <cstring>

namespace ropescale {
namespace {

// (batch, seqlen, nheads, head_dim), or (num_tokens, nheads, head_dim) as batch size 1.
HeadsParams heads_params(const TensorView& in, const TensorView& out) {
    HeadsParams heads = {};
    if (in.is_none()) return heads;
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

// ([axes,] [batch,] seqlen)
IndexParams index_params(const TensorView& x, bool has_axes) {
    IndexParams index = {};
    if (x.is_none()) return index;
    index.is_int64 = x.dtype.bits == 64;
    index.data = x.data;
    index.stride_token = x.strides[x.ndim - 1];
    if (x.ndim - (has_axes ? 1 : 0) == 2) index.stride_batch = x.broadcast_stride(x.ndim - 2);
    index.stride_axis = has_axes ? x.strides[0] : 0;
    return index;
}

template <class Views>
RotaryQKParams heads_and_sizes(const Views& v, bool interleaved, bool conjugate) {
    RotaryQKParams p = {};
    p.dtype = v.q.float_dtype();
    p.batch = v.q.ndim == 4 ? v.q.shape[0] : 1;
    p.seqlen = v.q.shape[v.q.ndim - 3];
    p.head_dim = v.q.shape[v.q.ndim - 1];
    p.interleaved = interleaved;
    p.conjugate = conjugate;
    p.q = heads_params(v.q, v.q_out);
    p.k = heads_params(v.k, v.k_out);
    return p;
}

}  // namespace

RotaryQKParams rotary_qk_params(const RotaryQKViews& v, bool interleaved, bool conjugate,
                                bool phase_float32) {
    RotaryQKParams p = heads_and_sizes(v, interleaved, conjugate);
    TableParams& t = p.table;
    t.num_profiles = v.table.steps.shape[0];
    p.rotary_dim = 2 * v.table.steps.shape[1];
    t.steps = v.table.steps.as<uint32_t>();
    t.inv_freq = v.table.inv_freq.as<uint32_t>();
    t.factors = v.table.factors.as<uint32_t>();
    t.axis_ids = v.table.axis_ids.as<int32_t>();
    t.pos_freqs = v.table.pos_freqs.as<uint32_t>();
    t.ramp = v.table.ramp.as<uint32_t>();
    t.scales = v.table.scales.as<uint32_t>();
    t.phase_float32 = phase_float32;

    const int token_dims = v.q.ndim - 2;
    t.position_ids = index_params(v.position_ids, t.axis_ids && v.position_ids.ndim > token_dims);
    const TensorView& profiles = v.profile_ids;
    if (!profiles.is_none()) {
        t.profile_ids = profiles.as<int32_t>();
        if (profiles.ndim == token_dims) {
            t.profile_stride_token = profiles.strides[token_dims - 1];
            if (token_dims == 2) t.profile_stride_batch = profiles.broadcast_stride(0);
        } else {
            t.profile_stride_batch = profiles.strides[0];
        }
    }
    return p;
}

RotaryQKParams rotary_cos_sin_params(const RotaryCosSinViews& v, int64_t rotary_dim,
                                     bool interleaved, bool conjugate) {
    RotaryQKParams p = heads_and_sizes(v, interleaved, conjugate);
    p.rotary_dim = rotary_dim;
    CosSinParams& source = p.cos_sin;
    source.cos = v.cos.data;
    source.sin = v.sin.data;
    source.dtype = v.cos.float_dtype();
    source.rows = index_params(v.position_ids, false);
    const int row = v.cos.ndim - 2;
    source.num_rows = v.cos.shape[row];
    // Without row indices, a single row is broadcast over the tokens.
    const bool indexed = !v.position_ids.is_none();
    source.cos_stride_token = indexed ? v.cos.strides[row] : v.cos.broadcast_stride(row);
    source.sin_stride_token = indexed ? v.sin.strides[row] : v.sin.broadcast_stride(row);
    const int axes = v.axis_ids.empty() ? 0 : 1;
    if (row - axes == 1) {
        source.cos_stride_batch = v.cos.broadcast_stride(axes);
        source.sin_stride_batch = v.sin.broadcast_stride(axes);
    }
    source.cos_stride_pair = v.cos.strides[row + 1];
    source.sin_stride_pair = v.sin.strides[row + 1];
    source.is_strided = axes || source.cos_stride_pair != 1 || source.sin_stride_pair != 1;
    if (axes) {
        source.cos_stride_axis = v.cos.strides[0];
        source.sin_stride_axis = v.sin.strides[0];
        std::memcpy(source.axis_ids, v.axis_ids.data(), v.axis_ids.size());
    }
    return p;
}

}  // namespace ropescale
