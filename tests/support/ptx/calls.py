"""The contract's calls as the interpreter makes them: tensors, outputs, and the CPU's results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import ropescale_kernels as rk
from tools import contract
from tools.contract import Case, RowsCase

from ..bits import WORDS, differing

Outputs = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Call:
    """One call: `launch` makes it with an implementation, and writes `outputs`.

    Attributes:
        name: What the call is.
        inputs: Every tensor that a kernel may read.
        outputs: q and k rotated; those of `inputs` in place.
        wants: The results of impl="cpu".
        launch: The call, given the name of an implementation.
        before: Copies of the outputs as they were.
    """

    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: Outputs
    wants: Outputs
    launch: Callable[[str], Any]
    before: Outputs

    def renew(self) -> None:
        """Put the outputs back as they were, so that the call can be made again."""
        for x, old in zip(self.outputs, self.before, strict=True):
            if x is not None and old is not None:
                x.copy_(old)

    def wrong(self) -> int:
        """Count elements that differ from the CPU's; a NaN equals any NaN."""
        pairs = zip(self.outputs, self.wants, strict=True)
        return sum(differing(x, y) for x, y in pairs if x is not None and y is not None)


def of_dtype(dtype: torch.dtype) -> Iterator[Call]:
    """Yield every call of the contract with q of a dtype."""
    for name, case in contract.CASES.items():
        yield from rotations(name, case, dtype)
    for name, given in contract.ROWS.items():
        yield from rows(name, given, dtype)


def rotations(name: str, case: Case, dtype: torch.dtype) -> Iterator[Call]:
    """Yield a named call, out of place and in place."""
    for in_place in (False, True):
        q, k = contract.tensors(case, dtype)
        if q.numel() == 0:
            continue
        table = contract.table_of(case)
        options = case.options | {"profile_ids": case.profile_ids}
        yield _call(
            f"{name}, {_word(dtype)}, {'in' if in_place else 'out of'} place",
            rk.apply_rotary_qk,
            (q, k),
            (case.position_ids, table),
            options,
            (case.position_ids, case.profile_ids, *table.state),
            in_place,
        )


def rows(name: str, case: RowsCase, dtype: torch.dtype) -> Iterator[Call]:
    """Yield a named call with given cosines and sines of each dtype, of vectors and elements."""
    for kind, layout in itertools.product(WORDS, ("contiguous", "odd offset")):
        pair = contract.tensors(Case(heads=(5, 2), layout=layout), dtype)
        given = contract.rows_of(case, kind)
        yield _call(
            f"{name}, {_word(dtype)}, rows of {_word(kind)}, {layout}",
            rk.apply_rotary_cos_sin,
            pair,
            given,
            case.options,
            given,
            in_place=False,
        )


def _call(
    name: str,
    apply: Callable[..., Any],
    pair: tuple[Tensor, Tensor | None],
    rest: tuple[Any, ...],
    options: dict[str, Any],
    others: tuple[Tensor | None, ...],
    in_place: bool,
) -> Call:
    wants = apply(*pair, *rest, impl="cpu", **options)
    q, k = pair
    outputs = pair if in_place else (_poisoned(q), None if k is None else _poisoned(k))
    return Call(
        name,
        (*pair, *others),
        outputs,
        wants,
        lambda impl: apply(*pair, *rest, impl=impl, out=outputs, **options),
        (outputs[0].clone(), None if outputs[1] is None else outputs[1].clone()),
    )


def _poisoned(x: Tensor) -> Tensor:
    """Return an output with the strides of `empty_like`, full of sevens."""
    return torch.empty_like(x).fill_(7)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
