"""torch.func.vmap: the mapped axis joins the batch of the sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import RopeScaleUnsupportedError, expected

Dims = tuple[int | None, ...]


def batch_rotary_qk(info: Any, in_dims: Dims, *arguments: Any) -> Any:
    """Rotate all of a batch in one call."""
    _refuse_batched_tables(in_dims[4:13])
    q, k, position_ids, profile_ids, *rest = arguments
    fold = _Fold(info.batch_size, q, in_dims[0])
    axes = position_ids.dim() - (in_dims[2] is not None) > fold.token_dims
    q_out, k_out = torch.ops.ropescale.rotary_qk(
        fold.heads(q, in_dims[0]),
        None if k is None else fold.heads(k, in_dims[1]),
        fold.tokens(position_ids, in_dims[2], axes=axes),
        None if profile_ids is None else fold.tokens(profile_ids, in_dims[3], by_sequence=True),
        *rest,
    )
    return fold.unfolded(q_out, k_out, k)


def batch_rotary_cos_sin(info: Any, in_dims: Dims, *arguments: Any) -> Any:
    """Rotate all of a batch in one call."""
    q, k, cos, sin, position_ids, *rest = arguments
    fold = _Fold(info.batch_size, q, in_dims[0])
    if position_ids is not None:
        # Row indices: the rows themselves are shared.
        _refuse_batched_tables(in_dims[2:4])
        position_ids = fold.tokens(position_ids, in_dims[4])
    else:
        cos = fold.tokens(cos, in_dims[2], rows=True)
        sin = fold.tokens(sin, in_dims[3], rows=True)
    q_out, k_out = torch.ops.ropescale.rotary_cos_sin(
        fold.heads(q, in_dims[0]),
        None if k is None else fold.heads(k, in_dims[1]),
        cos,
        sin,
        position_ids,
        *rest,
    )
    return fold.unfolded(q_out, k_out, k)


def refuse(info: Any, in_dims: Dims, *arguments: Any) -> Any:
    """Refuse what has no batched form."""
    raise RopeScaleUnsupportedError(
        expected("q", "plain tensors where one is written or a scaling requires grad", "vmap")
    )


def _refuse_batched_tables(in_dims: Dims) -> None:
    if any(dim is not None for dim in in_dims):
        raise RopeScaleUnsupportedError(
            expected("table", "one table for all that vmap maps over", "a batched one")
        )


class _Fold:
    """From (batched, [batch,] seqlen, ...) to (batched x batch, seqlen, ...) and back."""

    def __init__(self, size: int, q: Tensor, q_dim: int | None) -> None:
        self._size = size
        self._tokens = tuple(self._in_front(q, q_dim).shape[1:-2])
        self.token_dims = len(self._tokens)

    def heads(self, x: Tensor, dim: int | None) -> Tensor:
        x = self._in_front(x, dim)
        return x if self.token_dims == 1 else x.flatten(0, 1)

    def tokens(
        self,
        x: Tensor,
        dim: int | None,
        *,
        axes: bool = False,
        rows: bool = False,
        by_sequence: bool = False,
    ) -> Tensor:
        """Fold one value (or a row) per token; a leading axis of M-RoPE stays in front.

        What lacks an axis, `(seqlen,)`, serves every sequence; or, `by_sequence`, every token.
        """
        x = self._in_front(x, dim)
        if axes:
            x = x.movedim(1, 0)
        lead, tail = (x.shape[:1] if axes else ()), (x.shape[-1:] if rows else ())
        own = x.shape[len(lead) + 1 : x.dim() - len(tail)]
        if len(own) < self.token_dims:
            x = x.unsqueeze(len(lead) + (2 if by_sequence else 1))
        x = x.expand(*lead, self._size, *self._tokens, *tail)
        return x if self.token_dims == 1 else x.flatten(len(lead), len(lead) + 1)

    def unfolded(self, q_out: Tensor, k_out: Tensor, k: Tensor | None) -> Any:
        if self.token_dims == 2:
            batches = self._size, self._tokens[0]
            q_out = q_out.view(*batches, *q_out.shape[1:])
            k_out = k_out if k is None else k_out.view(*batches, *k_out.shape[1:])
        return (q_out, k_out), (0, None if k is None else 0)

    def _in_front(self, x: Tensor, dim: int | None) -> Tensor:
        if dim is None:
            return x.unsqueeze(0).expand(self._size, *x.shape)
        return x.movedim(dim, 0)
