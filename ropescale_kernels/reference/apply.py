"""The two operators: layouts, frequencies and phases around the rotation in `rotation.py`."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import RopeScaleTypeError, RopeScaleValueError, expected
from . import float32 as f32
from . import phase as ph
from .given_rows import head_axes, order_of
from .layout import (
    check_indices,
    check_kind,
    check_options,
    check_rotary_dim,
    per_token,
    positions_per_axis,
    profile_of_token,
)
from .rotation import rotate_tensor

if TYPE_CHECKING:
    from ..table.state import TableState

SineCosine = tuple[float, float]
NOT_A_NUMBER = (math.nan, math.nan)


@dataclass(frozen=True)
class _Frequency:
    """The frequency of a channel pair.

    Attributes:
        inv_freq: Radians per token, float32.
        step: Turns per token, unsigned, in units of 2^-64.
        wide: Turns per token in units of 2^-320, exact for the float64 reference.
    """

    inv_freq: float
    step: int
    wide: int


def _frequency(table: TableState, profile: int, pair: int) -> _Frequency | None:
    """Return the frequency of a pair in a profile, or None if it is not finite."""
    if table.blend is not None and int(table.blend[2][profile]) != 0:
        pos_freqs, ramp, scale = table.blend
        inv_freq = ph.blend_inv_freq_bits(
            f32.float32_from_bits(int(pos_freqs[profile, pair])),
            f32.float32_from_bits(int(ramp[profile, pair])),
            f32.float32_from_bits(int(scale[profile])),
        )
        if not math.isfinite(inv_freq):
            return None
        wide = ph.turns_from_float64(inv_freq, ph.WIDE_BITS)
        return _Frequency(inv_freq, ph.turns_from_float32(inv_freq), wide)
    low, high = table.turns_per_token[profile, pair].tolist()
    step = (high & ph.WORD) << 32 | (low & ph.WORD)
    inv_freq = f32.float32_from_bits(int(table.inv_freq_bits[profile, pair]))
    if table.frequency_dtype == "float64":
        return _Frequency(inv_freq, step, step << (ph.WIDE_BITS - ph.TURNS_BITS))
    return _Frequency(inv_freq, step, ph.turns_from_float64(inv_freq, ph.WIDE_BITS))


def _sine_cosine(
    frequency: _Frequency | None, position: int, phase: str, precision: str
) -> SineCosine:
    if frequency is None:
        return NOT_A_NUMBER
    if phase == "exact":
        if precision == "bits":
            return ph.sincos_bits(ph.phase_from_position(position, frequency.step))
        return ph.sincos_wide(position * frequency.wide % (1 << ph.WIDE_BITS))
    angle = ph.angle_float32(position, frequency.inv_freq)
    if not math.isfinite(angle):
        return NOT_A_NUMBER
    if precision == "bits":
        return ph.sincos_bits(ph.turns_from_float32(angle) >> 32)
    return math.sin(angle), math.cos(angle)


def apply_rotary_qk(
    q: Tensor,
    k: Tensor | None,
    position_ids: Tensor,
    table: TableState,
    *,
    profile_ids: Tensor | None = None,
    interleaved: bool = False,
    conjugate: bool = False,
    phase: str = "exact",
    precision: str = "float64",
) -> tuple[Tensor, Tensor | None]:
    """Rotate q and k by position and multiply both by the attention factor: the definition.

    Equation: `(x0, x1) -> factor * (x0 cos - x1 sin, x1 cos + x0 sin)` of the angle
    `position * inv_freq`, on each pair of the first `rotary_dim` channels.

    Args:
        q: (batch, seqlen, nheads, head_dim) or (num_tokens, nheads, head_dim); float32, float16,
            bfloat16, or float64 in precision "float64"; on the CPU.
        k: The same with its own number of heads, or None.
        position_ids: Integers, (batch, seqlen), (1, seqlen), (seqlen,) or (num_tokens,); with a
            leading axis if the table has position axes (without it, all axes are equal).
        table: Frequencies and attention factors.
        profile_ids: int32, shaped as position_ids without an axis, or (batch,); out of range gives
            NaN in the rotated channels of that token. None means profile 0.
        interleaved: Pair channels (2j, 2j+1), not (j, j + rotary_dim/2).
        conjugate: Rotate backwards: the adjoint.
        phase: "exact", or "float32" for the rounded angle of table-based engines.
        precision: "float64" for true values (angles from integers of 320 bits; float64 results), or
            "bits" for the float32 operations that define every implementation (results in the
            dtype of q).

    Returns:
        New tensors for q and k (None if k is None). Channels at and above rotary_dim are copies.

    Raises:
        RopeScaleTypeError: A dtype that is not listed.
        RopeScaleValueError: A shape or an option that is not listed.

    Source: arXiv:2104.09864, eq. 34; the factor arXiv:2309.00071, eq. 21 to 23.
    """
    check_options(q, k, precision, interleaved, conjugate)
    if not hasattr(table, "turns_per_token"):
        raise RopeScaleTypeError(expected("table", "a RotaryTable", type(table).__name__))
    check_rotary_dim(table.rotary_dim, q, k)
    if phase not in ("exact", "float32"):
        raise RopeScaleValueError(expected("phase", '"exact" or "float32"', phase))
    token_shape = q.shape[:-2]
    half = table.rotary_dim // 2
    axis_ids = [0] * half if table.axis_ids is None else table.axis_ids.tolist()
    num_axes = None if table.axis_ids is None else table.num_axes
    positions = positions_per_axis(position_ids, token_shape, num_axes)
    profiles = profile_of_token(profile_ids, token_shape)
    frequencies = {
        p: [_frequency(table, p, j) for j in range(half)]
        for p in set(profiles)
        if 0 <= p < table.num_profiles
    }
    rows = [
        [
            _sine_cosine(frequency, positions[axis][token], phase, precision)
            for frequency, axis in zip(frequencies[p], axis_ids, strict=True)
        ]
        if p in frequencies
        else [NOT_A_NUMBER] * half
        for token, p in enumerate(profiles)
    ]
    sin, cos = (
        torch.tensor(rows, dtype=torch.float64, device="cpu").view(*token_shape, half, 2).unbind(-1)
    )
    rotate = functools.partial(
        rotate_tensor,
        cos=cos,
        sin=sin,
        interleaved=interleaved,
        conjugate=conjugate,
        precision=precision,
    )

    def factor(column: int) -> Tensor:
        of_profile = [
            f32.float32_from_bits(x) for x in table.attention_factor_bits[:, column].tolist()
        ]
        of_token = [of_profile[p] if p in frequencies else math.nan for p in profiles]
        return torch.tensor(of_token, dtype=torch.float64, device="cpu").view(token_shape)

    return rotate(q, factor=factor(0)), None if k is None else rotate(k, factor=factor(1))


def apply_rotary_cos_sin(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None = None,
    *,
    rows: str | None = None,
    rotary_dim: int | None = None,
    axis_ids: Sequence[int] | None = None,
    interleaved: bool = False,
    conjugate: bool = False,
    precision: str = "float64",
) -> tuple[Tensor, Tensor | None]:
    """Rotate q and k by cosines and sines that the caller holds: the definition.

    Args:
        q: As in `apply_rotary_qk`.
        k: As in `apply_rotary_qk`.
        cos: (..., width), any floating dtype. One row per token, in a shape that `position_ids` may
            have, perhaps with axes of size 1 for heads; or (num_rows, width) if `position_ids` is
            given; or with a leading axis if `axis_ids` is given.
        sin: The same shape.
        position_ids: Row of each token, (batch, seqlen), (1, seqlen), (seqlen,) or (num_tokens,);
            a row out of bounds gives NaN in the rotated channels.
        rows: Order of the pairs' values in a row: "half" (c0 c1 ..), "doubled" (c0 c1 .. c0 c1 ..)
            or "repeated" (c0 c0 c1 c1 ..). None if the other arguments leave one order.
        rotary_dim: Number of rotated channels; None reads it off the width and the order.
        axis_ids: For each pair, the entry of the leading axis whose rows are read (M-RoPE).
        interleaved: As in `apply_rotary_qk`.
        conjugate: As in `apply_rotary_qk`.
        precision: As in `apply_rotary_qk`; "bits" rounds cos and sin to float32 first.

    Returns:
        New tensors for q and k, as `apply_rotary_qk`.

    Raises:
        RopeScaleTypeError: A dtype that is not listed.
        RopeScaleValueError: A shape or an option that is not listed.
    """
    check_options(q, k, precision, interleaved, conjugate)
    check_kind("cos", cos)
    check_kind("sin", sin)
    if sin.shape != cos.shape:
        got = f"{tuple(cos.shape)} and {tuple(sin.shape)}"
        raise RopeScaleValueError(expected("cos, sin", "two equal shapes", got))
    order, rotary_dim = order_of(rows, rotary_dim, cos.shape, q.shape[-1], interleaved)
    check_rotary_dim(rotary_dim, q, k)
    half = rotary_dim // 2
    place = [2 * j if order == "repeated" else j for j in range(half)]
    values = torch.stack([cos[..., place], sin[..., place]]).double()  # (2, [axes,] ..., half)
    token_shape = q.shape[:-2]
    if position_ids is None:
        num_axes = 0 if axis_ids is None else len(cos)
        for axis in reversed(head_axes("cos", cos.shape, token_shape, num_axes)):
            values = values.squeeze(1 + axis)
    if axis_ids is not None:
        values = torch.stack([values[:, axis, ..., j] for j, axis in enumerate(axis_ids)], -1)
    if position_ids is None:
        index = torch.arange(values[0, ..., 0].numel(), device="cpu").view(values.shape[1:-1])
        values = values.flatten(1, -2)
    else:
        check_indices("position_ids", position_ids)
        index = position_ids.long()
    index = per_token("position_ids" if position_ids is not None else "cos", index, token_shape)
    num_rows = values.shape[1]
    nans = torch.full((2, 1, half), math.nan, dtype=torch.float64, device="cpu")
    poisoned = torch.cat([values, nans], 1)
    values = poisoned[:, index.masked_fill((index < 0) | (index > num_rows), num_rows)]
    rotate = functools.partial(
        rotate_tensor,
        cos=values[0],
        sin=values[1],
        factor=torch.ones(token_shape, dtype=torch.float64, device="cpu"),
        interleaved=interleaved,
        conjugate=conjugate,
        precision=precision,
    )
    return rotate(q), None if k is None else rotate(k)
