"""A call in torch operations around ONNX's RotaryEmbedding.

X, cos and sin of the standard operator have one type. Heads are cast to float32 around the
operator, because a cache in float16 or bfloat16 would round the angles' cos and sin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.onnx.ops
from torch import Tensor
from torch.nn.functional import embedding

from .caches import Cache


def by_table(
    heads: Sequence[Tensor],
    position_ids: Tensor,
    profile_ids: Tensor | None,
    caches: Sequence[Cache],
    axis_ids: Tensor | None,
    *,
    num_profiles: int,
    interleaved: bool,
) -> list[Tensor]:
    """Return q, or q and k, rotated by the rows of a table.

    Args:
        heads: `(batch, seqlen, nheads, head_dim)` or `(num_tokens, nheads, head_dim)`.
        position_ids: As in `apply_rotary_qk`.
        profile_ids: As in `apply_rotary_qk`.
        caches: As `caches_of` returns them.
        axis_ids: The position axis of each pair, or None.
        num_profiles: The profiles of the caches.
        interleaved: As in `apply_rotary_qk`.
    """
    tokens = heads[0].shape[:-2]
    rows = _rows(position_ids, profile_ids, tokens, len(caches[0][0]) - 1, num_profiles)
    if axis_ids is not None and rows.dim() > len(tokens):
        # The standard operator knows no axes, so it gets cos and sin of each token instead of rows.
        of_axes = _expanded(rows, (rows.shape[0], *tokens))
        caches = [
            (_of_pairs(cos, of_axes, axis_ids), _of_pairs(sin, of_axes, axis_ids))
            for cos, sin in caches
        ]
        of_tokens = None
    else:
        of_tokens = _expanded(rows, tokens)
    return [
        _rotated(x, cos, sin, of_tokens, interleaved=interleaved)
        for x, (cos, sin) in zip(heads, (caches[0], caches[-1]), strict=False)
    ]


def by_rows(
    heads: Sequence[Tensor],
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None,
    *,
    rotary_dim: int,
    interleaved: bool,
    conjugate: bool,
) -> list[Tensor]:
    """Return q, or q and k, rotated by given rows of cos and sin.

    The arguments are those of the operator `rotary_cos_sin`.
    """
    tokens, half = heads[0].shape[:-2], rotary_dim // 2
    cos, sin = (rows[..., :half].to(torch.float32) for rows in (cos, sin))
    if conjugate:
        sin = -sin
    if position_ids is not None:
        index = position_ids.to(torch.int64)
        valid = (index >= 0) & (index < cos.shape[0])
        index = torch.where(valid, index, 0)
        cos, sin = (
            torch.where(valid.unsqueeze(-1), embedding(index, rows), math.nan)
            for rows in (cos, sin)
        )
    cos, sin = (_expanded(rows, (*tokens, half)) for rows in (cos, sin))
    return [_rotated(x, cos, sin, None, interleaved=interleaved) for x in heads]


def _rows(
    position_ids: Tensor,
    profile_ids: Tensor | None,
    tokens: Sequence[int],
    row_of_nan: int,
    num_profiles: int,
) -> Tensor:
    """Return the row of each token, and the row of NaN where a position or profile has none."""
    num_positions = row_of_nan // num_profiles
    rows = position_ids.to(torch.int64)
    valid = (rows >= 0) & (rows < num_positions)
    if profile_ids is not None:
        profiles = profile_ids.to(torch.int64)
        if profiles.dim() < len(tokens):
            profiles = profiles.unsqueeze(-1)  # (batch, 1)
        valid = valid & (profiles >= 0) & (profiles < num_profiles)
        rows = profiles * num_positions + rows
    return torch.where(valid, rows, row_of_nan)


def _of_pairs(cache: Tensor, rows: Tensor, axis_ids: Tensor) -> Tensor:
    """Return the value of each token and pair, `(*tokens, half)`, from the row of the pair's axis.

    Args:
        cache: cos or sin, `(num_rows, half)`.
        rows: Row of each axis and token, `(num_axes, *tokens)`.
        axis_ids: Axis of each pair, `(half,)`.
    """
    found = embedding(rows, cache)  # (num_axes, *tokens, half)
    values = found[0]
    for axis in range(1, rows.shape[0]):
        values = torch.where(axis_ids == axis, found[axis], values)
    return values


def _expanded(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x if tuple(x.shape) == tuple(shape) else x.expand(*shape)


def _rotated(
    x: Tensor, cos: Tensor, sin: Tensor, rows: Tensor | None, *, interleaved: bool
) -> Tensor:
    """Return one rotation by the standard operator.

    Args:
        x: `(batch, seqlen, nheads, head_dim)` or `(num_tokens, nheads, head_dim)`.
        cos: `(num_rows, half)`, or `(*tokens, half)` if there are no rows.
        sin: Like cos.
        rows: Row of each token, int64 `(*tokens)`, or None.
        interleaved: As in `apply_rotary_qk`.
    """
    is_packed = x.dim() == 3
    if is_packed:
        # Each token is a sequence of length 1, because a runtime may not take a sequence that is
        # longer than the cache.
        cos, sin = (cos, sin) if rows is not None else (cos.unsqueeze(1), sin.unsqueeze(1))
        rows = None if rows is None else rows.unsqueeze(1)
    heads_first = x.unsqueeze(2) if is_packed else x.transpose(1, 2)
    rotary_dim = 2 * cos.shape[-1]
    rotated = torch.onnx.ops.rotary_embedding(
        heads_first.to(torch.float32),
        cos,
        sin,
        rows,
        interleaved=interleaved,
        # 0 stands for the whole head.
        rotary_embedding_dim=0 if rotary_dim == x.shape[-1] else rotary_dim,
    ).to(x.dtype)
    return rotated.squeeze(2) if is_packed else rotated.transpose(1, 2)
