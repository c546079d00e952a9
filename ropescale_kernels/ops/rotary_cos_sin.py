"""Rotate q and k by cosines and sines that the caller holds: document, check, run."""

from __future__ import annotations

from torch import Tensor

from .arguments import RotaryCosSinSpec
from .call import bump_versions, rotate
from .check import check_rotary_cos_sin
from .dtensor import call_on_shards, is_sharded


def apply_rotary_cos_sin(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None = None,
    *,
    rotary_dim: int | None = None,
    interleaved: bool = False,
    conjugate: bool = False,
    impl: str = "auto",
    out: tuple[Tensor, Tensor | None] | Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Rotate q and k by cos and sin that the caller holds, with the same kernel.

    Float32 arithmetic whatever the dtype of cos and sin, one rounding to the output type; any
    magnitude is already in them. Differentiable in q and k.

    Args:
        q: As in `apply_rotary_qk`.
        k: As in `apply_rotary_qk`.
        cos: `(batch, seqlen, width)`, `(1, seqlen, width)`, `(seqlen, width)` or
            `(num_tokens, width)`; or `(num_rows, width)` with position_ids. The width is
            rotary_dim // 2, or (Transformers) rotary_dim, of which the first half is read.
        sin: Like cos.
        position_ids: int32 or int64 row indices into cos and sin, shaped as in `apply_rotary_qk`;
            an index out of range gives NaN in that token's rotated channels. None: one row a token.
        rotary_dim: Channels rotated. None reads it off the width: twice the width where that fits
            in head_dim, else the width. Pass it for doubled rows of a partial rotation.
        interleaved: As in `apply_rotary_qk`.
        conjugate: As in `apply_rotary_qk`.
        impl: As in `apply_rotary_qk`.
        out: As in `apply_rotary_qk`.

    Returns:
        q_out and k_out (None where k is).

    Raises:
        RopeScaleTypeError: A dtype or kind; the message names the argument and the value.
        RopeScaleValueError: A shape, stride, range or device, or buffers that overlap.
        RopeScaleUnsupportedError: No implementation can serve the call, or cos requires grad.

    Example:
        >>> import torch, ropescale_kernels as rk
        >>> angle = torch.arange(16.0)[:, None] * 10000.0 ** (-torch.arange(32) / 32)
        >>> q = torch.randn(1, 16, 4, 64)
        >>> q_out, _ = rk.apply_rotary_cos_sin(q, None, angle.cos(), angle.sin())
    """
    if is_sharded(q, k):
        return call_on_shards(  # type: ignore[no-any-return]
            apply_rotary_cos_sin,
            RotaryCosSinSpec,
            q=q,
            k=k,
            cos=cos,
            sin=sin,
            position_ids=position_ids,
            rotary_dim=rotary_dim,
            interleaved=interleaved,
            conjugate=conjugate,
            impl=impl,
            out=out,
        )
    spec = check_rotary_cos_sin(
        q,
        k,
        cos,
        sin,
        position_ids,
        rotary_dim=rotary_dim,
        interleaved=interleaved,
        conjugate=conjugate,
        impl=impl,
        out=out,
    )
    result = rotate(spec)
    if out is not None:
        bump_versions(*result)
    return result
