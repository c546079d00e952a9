"""What a case is timed against: ours, a copy of the same bytes, and the unfused operations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import unfused
from ..ops import apply_rotary_qk, apply_rotary_qk_
from .cases import Inputs

Pair = tuple[Tensor, Tensor | None]

COMPILED = ("torch.compile", "torch.compile, whole")


@dataclass(frozen=True)
class Entry:
    """One row of a case.

    Attributes:
        name: As printed.
        call: What is timed.
        result: Gives q and k rotated, for the check of the answer; None for a copy.
    """

    name: str
    call: Callable[[], object]
    result: Callable[[], Pair] | None


def entries(inputs: Inputs, *, compiled: bool, transformers: bool) -> list[Entry]:
    """List what can be timed on a case.

    Args:
        inputs: The case's tensors.
        compiled: Whether to include torch.compile of the unfused operations.
        transformers: Whether to include Transformers' eager functions (if installed).

    Returns:
        Entries, the copy first.
    """
    q, k, position_ids, table = inputs.q, inputs.k, inputs.position_ids, inputs.table
    q_copy, k_copy = torch.empty_like(q), torch.empty_like(k)
    # In place, a buffer is rotated again and again: by magnitude "none" it keeps its norm.
    q_own, k_own = q.clone(), k.clone()
    steady = type(table)(table.scalings, magnitude="none")

    def ours() -> Pair:
        return apply_rotary_qk(q, k, position_ids, table)

    def in_place_once() -> Pair:
        once = q.clone(), k.clone()
        apply_rotary_qk_(*once, position_ids, table)
        return once

    def parity() -> Pair:
        return apply_rotary_qk(q, k, position_ids, table, phase="float32")

    q_pairs, k_pairs = (_interleave(x, len(inputs.inv_freq)) for x in (q, k))

    def interleaved() -> Pair:
        return apply_rotary_qk(q_pairs, k_pairs, position_ids, table, interleaved=True)

    def interleaved_as_halves() -> Pair:
        q_out, k_out = interleaved()
        assert k_out is not None
        return _halve(q_out, len(inputs.inv_freq)), _halve(k_out, len(inputs.inv_freq))

    def torch_ops() -> Pair:
        return unfused.apply_rotary_qk(q, k, position_ids, inputs.inv_freq, inputs.attention_factor)

    found = [
        Entry("copy", lambda: (q_copy.copy_(q), k_copy.copy_(k)), None),
        Entry("clone", lambda: (q.clone(), k.clone()), None),
        Entry(
            "ours, in place",
            lambda: apply_rotary_qk_(q_own, k_own, position_ids, steady),
            in_place_once,
        ),
        Entry("ours", ours, ours),
        Entry("ours, interleaved", interleaved, interleaved_as_halves),
        Entry("ours, phase float32", parity, parity),
        Entry("unfused torch ops", torch_ops, torch_ops),
    ]
    if transformers and _transformers() is not None:
        eager = _transformers_eager(inputs)
        found.append(Entry("Transformers eager", eager, eager))
    if compiled:
        found += _compiled(inputs)
    return found


def _interleave(x: Tensor, pairs: int) -> Tensor:
    """Move channels (j, j + pairs) to (2j, 2j + 1); those at and above 2 pairs stay."""
    rotated = torch.stack((x[..., :pairs], x[..., pairs : 2 * pairs]), dim=-1).flatten(-2)
    return torch.cat((rotated, x[..., 2 * pairs :]), dim=-1)


def _halve(x: Tensor, pairs: int) -> Tensor:
    """Undo `_interleave`."""
    end = 2 * pairs
    return torch.cat((x[..., 0:end:2], x[..., 1:end:2], x[..., end:]), dim=-1)


@cache
def _transformers() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers.models.llama import modeling_llama
    except ImportError:
        return None
    return modeling_llama


def _transformers_eager(inputs: Inputs) -> Callable[[], Pair]:
    """Transformers' rotary embedding and application, on its own layout (heads before tokens)."""
    llama = _transformers()
    q, k = inputs.q.transpose(1, 2), inputs.k.transpose(1, 2)
    q, k = q.contiguous(), k.contiguous()
    rotary_dim = 2 * len(inputs.inv_freq)

    def call() -> Pair:
        angle = inputs.position_ids[..., None].float() * inputs.inv_freq
        emb = torch.cat((angle, angle), dim=-1)
        cos = (emb.cos() * inputs.attention_factor).to(q.dtype)
        sin = (emb.sin() * inputs.attention_factor).to(q.dtype)
        if rotary_dim == q.shape[-1]:
            rotated = llama.apply_rotary_pos_emb(q, k, cos, sin)
        else:
            front = llama.apply_rotary_pos_emb(q[..., :rotary_dim], k[..., :rotary_dim], cos, sin)
            rotated = tuple(
                torch.cat([r, x[..., rotary_dim:]], -1) for r, x in zip(front, (q, k), strict=True)
            )
        return rotated[0].transpose(1, 2), rotated[1].transpose(1, 2)

    return call


def _compiled(inputs: Inputs) -> list[Entry]:
    """torch.compile of the unfused operations, in the two ways people meet it."""
    q, k, position_ids = inputs.q, inputs.k, inputs.position_ids
    tabulate = torch.compile(unfused.cos_sin, dynamic=False)
    rotate = torch.compile(unfused.rotate, dynamic=False)
    whole = torch.compile(unfused.apply_rotary_qk, dynamic=False)

    def apart() -> Pair:
        cos, sin = tabulate(inputs.inv_freq, position_ids, q.dtype, inputs.attention_factor)
        return rotate(q, k, cos, sin)

    def in_one() -> Pair:
        return whole(q, k, position_ids, inputs.inv_freq, inputs.attention_factor)

    # One graph inlines sine and cosine into the rotation and computes them again for every head,
    # which took 1.4 to 1.6 times as long in bfloat16 with 32 heads; a model tabulates them.
    return [
        Entry(COMPILED[0], apart, apart),
        Entry(COMPILED[1], in_one, in_one),
    ]


def error_against(result: Pair, truth: Pair) -> float:
    """Largest absolute difference of q and k from the truth."""
    return max(
        float((x.double() - y.double()).abs().max())
        for x, y in zip(result, truth, strict=True)
        if x is not None and y is not None
    )


def truth_of(inputs: Inputs) -> Pair:
    """Rotate in float64 with float64 angles, which at a window of 32768 are exact to 1e-11."""
    angle = inputs.position_ids[0].double()[:, None] * inputs.inv_freq.double()
    cos = (angle.cos() * inputs.attention_factor)[:, None]
    sin = (angle.sin() * inputs.attention_factor)[:, None]
    pairs = len(inputs.inv_freq)

    def rotate(x: Tensor) -> Tensor:
        x = x.double()
        x0, x1, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
        return torch.cat([x0 * cos - x1 * sin, x1 * cos + x0 * sin, rest], dim=-1)

    return rotate(inputs.q), rotate(inputs.k)
