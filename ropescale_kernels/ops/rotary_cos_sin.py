"""Rotate q and k by cosines and sines that the caller holds: document, check, run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.fx import has_side_effect

from .arguments import RotaryCosSinSpec
from .call import bump_versions, rotate
from .check import check_rotary_cos_sin
from .redirect import is_redirected, redirected
from .transforms import untraced


@has_side_effect
def apply_rotary_cos_sin(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None = None,
    *,
    rows: str | None = None,
    rotary_dim: int | None = None,
    mrope_section: Sequence[int] | None = None,
    mrope_interleaved: bool = False,
    interleaved: bool = False,
    conjugate: bool = False,
    impl: str = "auto",
    out: tuple[Tensor, Tensor | None] | Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Rotate q and k by cos and sin that the caller holds, with the same kernel.

    Float32 arithmetic whatever the dtype of cos and sin, one rounding to the output type; any
    magnitude is already in them. Differentiable in q and k.

    The values c0, c1, .. of a token's pairs come in one of three orders, which `rows` names:

    | rows | a row | rotary_dim | made by |
    |---|---|---|---|
    | "half" | c0 c1 .. | twice the width | vLLM, SGLang, `freqs_cis.real` |
    | "doubled" | c0 c1 .. c0 c1 .. | the width | Transformers: Llama, Qwen, GLM-4, Helium |
    | "repeated" | c0 c0 c1 c1 .. | the width | Transformers: Cohere, Cohere 2; diffusers |

    The order of a row does not tell which channels are pairs. Llama and Qwen pair halves. GLM-4,
    Helium, Ernie 4.5, Cohere and diffusers pair neighbours, and need `interleaved=True`.

    Args:
        q: As in `apply_rotary_qk`.
        k: As in `apply_rotary_qk`.
        cos: A row for each token, `(batch, seqlen, width)`, `(1, seqlen, width)`,
            `(seqlen, width)` or `(num_tokens, width)`, or one of these with axes of size 1 for
            heads: `(batch, 1, seqlen, width)`, `(batch, seqlen, 1, width)`, `(seqlen, 1, 1, width)`
            or `(num_tokens, 1, width)`. Or `(num_rows, width)` with position_ids. Any strides.
        sin: Like cos.
        position_ids: int32 or int64 row indices into cos and sin, shaped as in `apply_rotary_qk`;
            an index out of range gives NaN in that token's rotated channels. None: one row a token.
        rows: The order of a row. None if the width leaves one order: with rotary_dim, a width of
            rotary_dim // 2 is "half", and a width of rotary_dim is "doubled" if pairs are halves;
            without rotary_dim, a width above head_dim // 2 is "doubled" if pairs are halves. Every
            other call without `rows` raises an error that names the orders.
        rotary_dim: Channels rotated; None reads it off the width and the order.
        mrope_section: Pairs per M-RoPE axis, as in `RotaryTable.from_inv_freq`. cos and sin then
            have a leading axis, `(axes, batch, seqlen, width)`, with the rows of each axis before
            any selection.
        mrope_interleaved: Whether the axes take turns (Qwen3-VL).
        interleaved: As in `apply_rotary_qk`.
        conjugate: As in `apply_rotary_qk`.
        impl: As in `apply_rotary_qk`.
        out: As in `apply_rotary_qk`.

    Returns:
        q_out and k_out (None where k is).

    Raises:
        RopeScaleTypeError: A dtype or kind; the message names the argument and the value.
        RopeScaleValueError: A shape, stride, range or device, rows whose order is open, or buffers
            that overlap.
        RopeScaleUnsupportedError: No implementation can serve the call, or cos requires grad.

    Example:
        >>> import torch, ropescale_kernels as rk
        >>> angle = torch.arange(16.0)[:, None] * 10000.0 ** (-torch.arange(32) / 32)
        >>> q = torch.randn(1, 16, 4, 64)
        >>> q_out, _ = rk.apply_rotary_cos_sin(q, None, angle.cos(), angle.sin(), rows="half")
    """
    if is_redirected(q, k, cos):
        return redirected(  # type: ignore[no-any-return]
            apply_rotary_cos_sin,
            RotaryCosSinSpec,
            q=q,
            k=k,
            cos=cos,
            sin=sin,
            position_ids=position_ids,
            rows=rows,
            rotary_dim=rotary_dim,
            mrope_section=mrope_section,
            mrope_interleaved=mrope_interleaved,
            interleaved=interleaved,
            conjugate=conjugate,
            impl=impl,
            out=out,
        )
    spec = untraced(check_rotary_cos_sin)(
        q,
        k,
        cos,
        sin,
        position_ids,
        rows=rows,
        rotary_dim=rotary_dim,
        mrope_section=mrope_section,
        mrope_interleaved=mrope_interleaved,
        interleaved=interleaved,
        conjugate=conjugate,
        impl=impl,
        out=out,
    )
    result = rotate(spec)
    if out is not None:
        bump_versions(*result)
    return result
