"""torch.func.vmap from the kinds of arguments: the mapped axis joins the batch of sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import RopeScaleUnsupportedError, expected
from .kinds import Call, Kind, bind, by_name, is_by_sequence, present


def batched(kind: type[Call]) -> Callable[..., Any]:
    """Return the rule of an operator for vmap.

    Heads that are written, and results that are no heads, have no batched form.
    """
    slots, names = kind.SLOTS, kind.HEADS
    heads_are_written = any(s.argument.written and s.argument.kind is Kind.HEADS for s in slots)
    reduces = any(output.like not in names for output in kind.OUTPUTS)
    if heads_are_written or reduces:
        return partial(_refuse, names[0])

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        bound = bind(kind, args)
        values = by_name(kind, bound)
        dims = dict(zip(values, in_dims, strict=False))
        _refuse_batched_tables(kind, values, dims)
        fold = _Fold(info.batch_size, values[names[0]], dims.get(names[0]))
        folded: list[Any] = []
        for slot in slots:
            x, dim, meaning = values[slot.key], dims.get(slot.key), slot.argument
            if x is None:
                folded.append(None)
            elif meaning.kind is Kind.HEADS:
                folded.append(fold.heads(x, dim))
            elif meaning.kind is Kind.TOKENS:
                folded.append(fold.tokens(x, dim, meaning.lead, by_sequence=meaning.by_sequence))
            elif meaning.kind is Kind.ROWS and values[meaning.row_index] is None:
                lead = "copies" if meaning.has_row_axes(values) else ""
                folded.append(fold.tokens(x, dim, lead, rows=True))
            else:
                folded.append(x)
        return _unfolded(kind, present(kind, bound), fold, operator_of(kind)(*folded))

    return rule


def operator_of(kind: type[Call]) -> Any:
    """Return the operator that torch.library holds."""
    return getattr(getattr(torch.ops, kind.NAMESPACE), kind.NAME).default


def _refuse(name: str, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    raise RopeScaleUnsupportedError(
        expected(name, "plain tensors where one is written or a scaling requires grad", "vmap")
    )


def _refuse_batched_tables(
    kind: type[Call], values: dict[str, Any], dims: dict[str, int | None]
) -> None:
    for slot in kind.SLOTS:
        if dims.get(slot.key) is None:
            continue
        meaning = slot.argument
        is_indexed = meaning.kind is Kind.ROWS and values[meaning.row_index] is not None
        if meaning.kind is Kind.TABLE or is_indexed:
            raise RopeScaleUnsupportedError(
                expected("table", "one table for all that vmap maps over", "a batched one")
            )
        if meaning.kind is Kind.BUFFER:
            raise RopeScaleUnsupportedError(
                expected(slot.name, "one buffer for all that vmap maps over", "a batched one")
            )


def _unfolded(kind: type[Call], exists: Sequence[bool], fold: _Fold, results: Any) -> Any:
    """Return the results, and the mapped axis of each."""
    rest = [results] if isinstance(results, Tensor) else list(results)
    outputs = list(zip(kind.OUTPUTS, exists, strict=True))
    if kind.PLAN.returns_list:
        outputs = [(output, is_there) for output, is_there in outputs if is_there]
    found, dims = [], []
    for (output, is_there), x in zip(outputs, rest, strict=True):
        # An empty tensor stands for a result that is absent.
        lead = int(bool(output.lead))
        found.append(fold.unfold(x, lead) if is_there else x)
        dims.append(lead if is_there else None)
    if kind.PLAN.returns_list:
        return found, dims
    if len(found) == 1:
        return found[0], dims[0]
    return tuple(found), tuple(dims)


class _Fold:
    """From (mapped, [batch,] seqlen, ...) to (mapped x batch, seqlen, ...) and back."""

    def __init__(self, size: int, heads: Tensor, dim: int | None) -> None:
        self._size = size
        self._tokens = tuple(self._in_front(heads, dim).shape[1:-2])
        self._token_dims = len(self._tokens)

    def heads(self, x: Tensor, dim: int | None) -> Tensor:
        x = self._in_front(x, dim)
        return x if self._token_dims == 1 else x.flatten(0, 1)

    def tokens(
        self,
        x: Tensor,
        dim: int | None,
        lead: str = "",
        *,
        rows: bool = False,
        by_sequence: bool = False,
    ) -> Tensor:
        """Fold one value (or a row) per token; a leading axis stays in front.

        A tensor `(seqlen,)` serves every sequence. With `by_sequence`, a tensor `(batch,)` serves
        every token of a sequence.
        """
        x = self._in_front(x, dim)
        leads = lead == "copies" or (lead == "axes" and x.dim() - 1 > self._token_dims)
        if leads:
            x = x.movedim(1, 0)
        front, tail = (x.shape[:1] if leads else ()), (x.shape[-1:] if rows else ())
        own = x.shape[len(front) + 1 : x.dim() - len(tail)]
        if len(own) < self._token_dims:
            of_sequences = by_sequence and is_by_sequence(own, self._tokens)
            x = x.unsqueeze(len(front) + (2 if of_sequences else 1))
        x = x.expand(*front, self._size, *self._tokens, *tail)
        return x if self._token_dims == 1 else x.flatten(len(front), len(front) + 1)

    def unfold(self, x: Tensor, lead: int) -> Tensor:
        """Return a result with the mapped axis apart from the batch, behind `lead` axes."""
        if self._token_dims == 1:
            return x
        return x.view(*x.shape[:lead], self._size, self._tokens[0], *x.shape[lead + 1 :])

    def _in_front(self, x: Tensor, dim: int | None) -> Tensor:
        if dim is None:
            return x.unsqueeze(0).expand(self._size, *x.shape)
        return x.movedim(dim, 0)
