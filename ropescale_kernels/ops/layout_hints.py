"""Hints for q and k in a layout that a view mends: nothing is copied.

A hint is given only if the shapes tell the layout.
"""

from __future__ import annotations

from collections.abc import Sequence

Shape = Sequence[int]


def flat(name: str, nheads: str = "nheads") -> str:
    """Return the hint for heads that lie flat in the last axis."""
    view = f"{name}.unflatten(-1, ({nheads}, head_dim))"
    return f"If {name} is flat, pass {view}: it copies nothing."


def of_tokens(shape: Shape, q: Shape) -> str:
    """Return the hint for values per token that do not go with q, or "".

    Args:
        shape: Shape of the values, without an axis of M-RoPE and without channels.
        q: Shape of q.
    """
    if not shape:
        return ""
    tokens = shape[-1]
    if len(q) == 4 and q[2] == tokens != q[1]:
        return _heads_first(1)
    if len(q) == 4 and q[1] == 1 and tuple(shape) == (q[0],):
        return "One value for each sequence of one token is unsqueeze(-1) of it."
    if len(q) == 3 and q[1] == tokens != q[0]:
        # (batch, seqlen, channels), or (nheads, num_tokens, head_dim) if the values have one axis.
        return f"{flat('q')} {_heads_first(0)}" if len(shape) == 1 else flat("q")
    return ""


def of_axes(shape: Shape, q: Shape, num_axes: int) -> str:
    """Return the hint for a leading axis that is missing an axis, or that the table lacks, or "".

    Args:
        shape: Shape of position_ids.
        q: Shape of q.
        num_axes: Position axes of the table; 0 for none.
    """
    if not num_axes and len(shape) == len(q) - 1:
        return "A leading axis needs a table with M-RoPE sections."
    if num_axes and len(q) == 4 and tuple(shape) == (num_axes, q[1]):
        return "One row for each section is position_ids[:, None]."
    return ""


def of_k(k: Shape, q: Shape) -> str:
    """Return the hint for a k that does not go with q, or ""."""
    if len(k) == len(q) - 1 and k[:-1] == q[:-2]:
        return flat("k", "nheads_k")
    # Heads first, the second axes are numbers of heads, of which k has a share.
    same = len(k) == len(q) == 4 and k[0] == q[0] and k[2:] == q[2:]
    return _heads_first(1) if same and 0 < k[1] < q[1] and q[1] % k[1] == 0 else ""


def _heads_first(axis: int) -> str:
    swap = f"transpose({axis}, {axis + 1})"
    return f"If q and k are heads first, pass q.{swap} and k.{swap}: they copy nothing."
