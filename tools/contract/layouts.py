"""Layouts of q and k in memory: views of (batch, seqlen, nheads, head_dim) or without a batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

New = Callable[..., Tensor]
Shape = tuple[int, int, int, int]


def contiguous(new: New, shape: Shape) -> Tensor:
    return new(*shape)


def tokens(new: New, shape: Shape) -> Tensor:
    """Return (num_tokens, nheads, head_dim)."""
    batch, seqlen, nheads, head_dim = shape
    return new(batch * seqlen, nheads, head_dim)


def heads_first(new: New, shape: Shape) -> Tensor:
    """Return a view of (batch, nheads, seqlen, head_dim) in memory."""
    batch, seqlen, nheads, head_dim = shape
    return new(batch, nheads, seqlen, head_dim).transpose(1, 2)


def packed(new: New, shape: Shape) -> Tensor:
    """Return some of the heads of a larger tensor."""
    batch, seqlen, nheads, head_dim = shape
    return new(batch, seqlen, nheads + 3, head_dim)[:, :, 1 : nheads + 1]


def padded(new: New, shape: Shape) -> Tensor:
    """Return a view with gaps along every axis but that of heads."""
    batch, seqlen, nheads, head_dim = shape
    return new(batch + 1, seqlen + 2, nheads, head_dim + 5)[1:, 1:-1, :, :head_dim]


def padded_to_vectors(new: New, shape: Shape) -> Tensor:
    """Return heads at a distance of whole vectors, whatever head_dim is."""
    batch, seqlen, nheads, head_dim = shape
    return new(batch, seqlen, nheads, -(-head_dim // 8) * 8)[..., :head_dim]


def reversed_axes(new: New, shape: Shape) -> Tensor:
    """Return a view of (seqlen, nheads, batch, head_dim) in memory, with gaps between rows."""
    batch, seqlen, nheads, head_dim = shape
    return new(seqlen, nheads, batch, head_dim + 4)[..., 2:-2].permute(2, 0, 1, 3)


def packed_qkv(new: New, q: Shape, nheads_k: int) -> tuple[Tensor, Tensor]:
    """Return q and k of one tensor that holds v behind them."""
    batch, seqlen, nheads, head_dim = q
    heads = new(batch, seqlen, nheads + 2 * nheads_k, head_dim)
    return heads[:, :, :nheads], heads[:, :, nheads : nheads + nheads_k]


def packed_tokens(new: New, q: Shape, nheads_k: int) -> tuple[Tensor, Tensor]:
    """Return q and k of one tensor of tokens."""
    batch, seqlen, nheads, head_dim = q
    heads = new(batch * seqlen, nheads + nheads_k, head_dim)
    return heads[:, :nheads], heads[:, nheads:]


def odd_stride(new: New, q: Shape, nheads_k: int) -> tuple[Tensor, Tensor]:
    """Return q and k of one tensor whose heads are at no distance of whole vectors."""
    batch, seqlen, nheads, head_dim = q
    heads = new(batch * seqlen, nheads + nheads_k, head_dim + 2)[..., :head_dim]
    return heads[:, :nheads], heads[:, nheads:]


def odd_offset(new: New, q: Shape, nheads_k: int) -> tuple[Tensor, Tensor]:
    """Return q and k at addresses that are no multiple of a vector's size."""
    batch, seqlen, nheads, head_dim = q
    size = batch * seqlen * head_dim
    flat = new((nheads + nheads_k) * size + 3)
    end = 1 + nheads * size
    k = flat[2 + end :].view(batch, seqlen, nheads_k, head_dim)
    return flat[1:end].view(q), k


def expanded(new: New, q: Shape, nheads_k: int) -> tuple[Tensor, Tensor]:
    """Return q of one row for all heads and sequences, and k of one row for all tokens."""
    batch, seqlen, _, head_dim = q
    k = new(batch, 1, 1, head_dim).expand(batch, seqlen, nheads_k, head_dim)
    return new(1, seqlen, 1, head_dim).expand(q), k


# Layouts of one tensor, and layouts in which q and k share memory or differ from each other.
ONE: dict[str, Callable[[New, Shape], Tensor]] = {
    "contiguous": contiguous,
    "tokens": tokens,
    "heads first": heads_first,
    "packed": packed,
    "padded": padded,
    "padded to vectors": padded_to_vectors,
    "reversed axes": reversed_axes,
}
BOTH: dict[str, Callable[[New, Shape, int], tuple[Tensor, Tensor]]] = {
    "packed qkv": packed_qkv,
    "packed tokens": packed_tokens,
    "odd stride": odd_stride,
    "odd offset": odd_offset,
    "expanded": expanded,
}
