"""Rotate q and k by the frequencies of a table: document, check, run."""

from __future__ import annotations

from torch import Tensor
from torch.compiler import is_compiling
from torch.fx import has_side_effect

from ..backends.compiled import fast_rotary_qk
from ..table import RotaryTable
from .arguments import RotaryQKInPlaceSpec, RotaryQKSpec
from .call import bump_versions, rotate, rotate_in_place
from .check import check_rotary_qk
from .redirect import is_redirected, redirected
from .transforms import untraced


@has_side_effect
def apply_rotary_qk(
    q: Tensor,
    k: Tensor | None,
    position_ids: Tensor,
    table: RotaryTable,
    *,
    profile_ids: Tensor | None = None,
    interleaved: bool = False,
    conjugate: bool = False,
    phase: str = "exact",
    impl: str = "auto",
    out: tuple[Tensor, Tensor | None] | Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Rotate q and k by position, and multiply both by the attention factor, in one pass.

    For each pair of channels (x0, x1) at position p, inverse frequency w and attention factor a:
    `o0 = a (x0 cos(p w) - x1 sin(p w))`, `o1 = a (x1 cos(p w) + x0 sin(p w))`. The phase p w is
    reduced in integers, so it is as exact at position 10 million as at 10. Channels at and above
    the table's rotary_dim are copied unscaled. Differentiable in q and k.

    Args:
        q: `(batch, seqlen, nheads, head_dim)` or `(num_tokens, nheads, head_dim)`; float32, float16
            or bfloat16; any strides whose last is 1. head_dim from 2 to 512. A DTensor cut along
            batch, tokens or heads is rotated shard by shard, where a plain position_ids means this
            rank's own tokens.
        k: Like q with its own number of heads, or None.
        position_ids: int32 or int64, `(batch, seqlen)`, `(1, seqlen)`, `(seqlen,)` or
            `(num_tokens,)`, in tokens; any value. A table with M-RoPE sections takes a leading axis
            of one position per section before `(batch, seqlen)`, `(1, seqlen)` or
            `(num_tokens,)`, or none where all are equal.
        table: Frequencies and magnitudes, on q's device.
        profile_ids: int32, which of the table's scalings each token follows, shaped as
            position_ids without an axis, or `(batch,)` for each sequence, which wins if batch is
            seqlen. None for the first. A value out of range gives NaN in that token's rotated
            channels.
        interleaved: Pairs are channels (2j, 2j + 1) if true, (j, j + rotary_dim / 2) if false.
        conjugate: Rotate backwards: the adjoint, which for factor 1 is the inverse.
        phase: "exact", or "float32" for the angle fl32(fl32(position) * fl32(inv_freq)) of
            Transformers and table-based engines.
        impl: "auto", or the name of one implementation (`available_impls()`). The variable
            ROPESCALE_IMPL overrides "auto".
        out: Buffers `(q_out, k_out)` to write, of the inputs' shapes and dtype; a buffer may be its
            input itself. Not under autograd.

    Returns:
        q_out and k_out (None where k is), with the inputs' dtype and order of strides.

    Raises:
        RopeScaleTypeError: A dtype or kind; the message names the argument and the value.
        RopeScaleValueError: A shape, stride, range or device, or buffers that overlap.
        RopeScaleUnsupportedError: No implementation, or not the one named, can serve the call.

    Note:
        cos and sin err by at most 8e-8 before the factor for |position| <= 2^34; the error of an
        output is bounded by `bounds.rotation_bound`. One rounding to the output type. Every
        compiled implementation gives the same bits, the payload of a NaN excepted.

    Example:
        >>> import torch, ropescale_kernels as rk
        >>> scaling = rk.RopeScaling.yarn(
        ...     rotary_dim=128, rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768)
        >>> table = rk.RotaryTable(scaling)
        >>> q, k = torch.randn(1, 16, 8, 128), torch.randn(1, 16, 2, 128)
        >>> q_out, k_out = rk.apply_rotary_qk(q, k, torch.arange(16), table)

    Source: RoPE, arXiv:2104.09864 eq. 34; YaRN, arXiv:2309.00071 eq. 17 to 23 (the factor is its
    sqrt(1/t)).
    """
    if impl == "auto" and profile_ids is None and not is_compiling():
        result = fast_rotary_qk(q, k, position_ids, table, interleaved, conjugate, phase, out)
        if result is not None:
            return result  # type: ignore[no-any-return]
    if is_redirected(q, k, position_ids):
        return redirected(  # type: ignore[no-any-return]
            apply_rotary_qk,
            RotaryQKSpec,
            q=q,
            k=k,
            position_ids=position_ids,
            table=table,
            profile_ids=profile_ids,
            interleaved=interleaved,
            conjugate=conjugate,
            phase=phase,
            impl=impl,
            out=out,
        )
    spec = untraced(check_rotary_qk)(
        q,
        k,
        position_ids,
        table,
        profile_ids,
        interleaved=interleaved,
        conjugate=conjugate,
        phase=phase,
        impl=impl,
        out=out,
    )
    result = rotate(spec)
    if out is not None:
        bump_versions(*result)
    return result


@has_side_effect
def apply_rotary_qk_(
    q: Tensor,
    k: Tensor | None,
    position_ids: Tensor,
    table: RotaryTable,
    *,
    profile_ids: Tensor | None = None,
    interleaved: bool = False,
    conjugate: bool = False,
    phase: str = "exact",
    impl: str = "auto",
) -> None:
    """Rotate q and k in place, as `apply_rotary_qk` does, with the same bits.

    Allocates nothing. q and k may be views of one buffer (packed qkv) whose elements are apart.

    Args:
        q: As in `apply_rotary_qk`; written.
        k: As in `apply_rotary_qk`; written, or None.
        position_ids: As in `apply_rotary_qk`.
        table: As in `apply_rotary_qk`.
        profile_ids: As in `apply_rotary_qk`.
        interleaved: As in `apply_rotary_qk`.
        conjugate: As in `apply_rotary_qk`.
        phase: As in `apply_rotary_qk`.
        impl: As in `apply_rotary_qk`.

    Raises:
        RopeScaleTypeError: As in `apply_rotary_qk`.
        RopeScaleValueError: As in `apply_rotary_qk`, or an element would be written twice.
        RopeScaleRuntimeError: A leaf that requires grad, under grad mode.
        RopeScaleUnsupportedError: As in `apply_rotary_qk`.
    """
    if (
        impl == "auto"
        and profile_ids is None
        and not is_compiling()
        and fast_rotary_qk(q, k, position_ids, table, interleaved, conjugate, phase, True)
    ):
        return
    if is_redirected(q, k, position_ids):
        redirected(
            apply_rotary_qk_,
            RotaryQKInPlaceSpec,
            q=q,
            k=k,
            position_ids=position_ids,
            table=table,
            profile_ids=profile_ids,
            interleaved=interleaved,
            conjugate=conjugate,
            phase=phase,
            impl=impl,
        )
        return
    spec = untraced(check_rotary_qk)(
        q,
        k,
        position_ids,
        table,
        profile_ids,
        interleaved=interleaved,
        conjugate=conjugate,
        phase=phase,
        impl=impl,
        in_place=True,
    )
    if rotate_in_place(spec):
        bump_versions(q, k)
