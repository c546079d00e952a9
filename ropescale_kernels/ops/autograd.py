"""Gradients of an operator from the kinds of its arguments, registered and seen by torch.func.

An operator is linear in its heads. The gradient of heads is therefore the adjoint operator on the
upstream gradients, which is the same operator with its adjoint flag flipped; it is differentiable
again, to any order. The gradients of a table's leaves are an operator of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..table.state import GradLeaves
from . import vmap
from .kinds import Call, Kind, bind, returns_list

# From the arguments by name and the upstream gradient of each output, the gradients by name.
Gradients = Callable[[dict[str, Any], "Sequence[Tensor | None]"], "dict[str, Tensor | None]"]


# For each differentiable operator, the autograd.Function that torch.func sees.
_FUNCTIONS: dict[type[Call], Any] = {}


class Formula:
    """The backward of one operator.

    Args:
        kind: The operator's dataclass.
        gradients: Returns the gradients of an operator that is not its own adjoint.
        leaf_gradients: The operator that computes the gradients of a table's leaves. It takes every
            argument of the operator, because an argument that it lacks would be dropped.
    """

    def __init__(
        self,
        kind: type[Call],
        gradients: Gradients | None,
        leaf_gradients: type[Call] | None,
    ) -> None:
        self._kind = kind
        self._gradients = gradients
        self._leaf_gradients = leaf_gradients
        if leaf_gradients is not None:
            dropped = _argument_keys(kind) - _argument_keys(leaf_gradients)
            assert not dropped, f"{leaf_gradients.NAME} lacks {sorted(dropped)} of {kind.NAME}"
        is_leaf = {slot.key: slot.part in GradLeaves._fields for slot in kind.SLOTS}
        self._leaves = [key for key, is_one in is_leaf.items() if is_one]
        self._rest = [slot.key for slot in kind.SLOTS if not slot.is_tensor]
        self._saved = [key for key, of in kind.READ if of not in (Kind.BUFFER, Kind.HEADS)]
        self._saved_for_leaves = [key for key, of in kind.READ if of is not Kind.BUFFER]
        has_adjoint = bool(_adjoint_flag(kind) and kind.OUTPUTS)
        if has_adjoint and gradients is None:
            rotated = [output.like for output in kind.OUTPUTS]
            buffers = [key for key, of in kind.READ if of is Kind.BUFFER]
            one_result_each = len(set(rotated)) == len(rotated)
            assert one_result_each, f"{kind.NAME}: two results like one argument need gradients"
            alone = not (kind.WRITTEN or buffers)
            assert alone, f"{kind.NAME}: an operator that writes or reads a buffer needs gradients"
        self.is_differentiable = gradients is not None or has_adjoint

    def setup(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save the tensors besides heads; save heads only if a leaf of the table requires grad."""
        values = bind(self._kind, inputs, {})
        leaves = [values[key] for key in self._leaves]
        of_leaves = any(x is not None and x.requires_grad for x in leaves)
        ctx.set_materialize_grads(False)
        ctx.rest = {key: values[key] for key in self._rest}
        ctx.names = self._saved_for_leaves if of_leaves else self._saved
        ctx.heads_shape = values[self._kind.HEADS[0]].shape
        ctx.exists = [output.exists(values) for output in self._kind.OUTPUTS]
        # Saved tensors let autograd see a table that is updated, or positions that are rewritten,
        # before backward.
        ctx.save_for_backward(*[values[key] for key in ctx.names])

    def backward(self, ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients of all arguments."""
        keys = self._kind.KEYS
        needed = {key for key, need in zip(keys, ctx.needs_input_grad, strict=False) if need}
        upstream = self._per_output(ctx, grads)
        found: dict[str, Tensor | None] = {}
        if any(x is not None for x in upstream):
            values = {**ctx.rest, **dict(zip(ctx.names, ctx.saved_tensors, strict=True))}
            if self._gradients is not None:
                found = self._gradients(values, upstream)
            else:
                found = self._rotate_back(values, upstream, needed, ctx.heads_shape)
        return tuple([found.get(key) if key in needed else None for key in keys])

    def _per_output(self, ctx: Any, grads: tuple[Any, ...]) -> list[Tensor | None]:
        """Return the upstream gradient of each output, None for an output that was absent."""
        if not returns_list(self._kind):
            # An empty tensor stood for the result of heads that were None.
            return [g if is_there else None for g, is_there in zip(grads, ctx.exists, strict=True)]
        # torch.library gives the gradients of a list in one list, an autograd.Function one by one.
        rest = list(grads[0] if len(grads) == 1 and isinstance(grads[0], list | tuple) else grads)
        return [rest.pop(0) if is_there else None for is_there in ctx.exists]

    def _rotate_back(
        self,
        values: dict[str, Any],
        grads: Sequence[Tensor | None],
        needed: set[str],
        shape: torch.Size,
    ) -> dict[str, Tensor | None]:
        """Return the gradients of heads and of leaves, by the adjoint operator."""
        heads = self._kind.HEADS
        given = {o.like: g for o, g in zip(self._kind.OUTPUTS, grads, strict=True)}
        upstream = dict(given)
        if upstream[heads[0]] is None:
            # An operator always takes its first heads; a tensor of 0 heads costs nothing.
            other = next(g for g in grads if g is not None)
            upstream[heads[0]] = other.new_empty((*shape[:-2], 0, shape[-1]))
        found: dict[str, Tensor | None] = {}
        if needed.intersection(heads):
            flag = _adjoint_flag(self._kind)
            adjoint = {**values, **upstream, flag: not values[flag]}
            for output, grad in zip(
                self._kind.OUTPUTS, _call_by_name(self._kind, adjoint), strict=True
            ):
                found[output.like] = None if given[output.like] is None else grad
        leaves = GradLeaves._fields
        if self._leaf_gradients is not None and needed.intersection(leaves):
            for name in heads:
                values[f"grad_{name}"] = upstream[name]
                if given[name] is None:
                    values[name] = upstream[name]
            of_leaves = _call_by_name(self._leaf_gradients, values)
            found |= dict(zip(leaves, of_leaves, strict=True))
        return found


def _argument_keys(kind: type[Call]) -> set[str]:
    """Return the names of an operator's arguments besides heads and the leaves of a table."""
    return {
        slot.key
        for slot in kind.SLOTS
        if slot.argument.kind is not Kind.HEADS and slot.part not in GradLeaves._fields
    }


def show_to_torch_func(kind: type[Call], formula: Formula) -> None:
    """Let `call_in_sight` use the gradients of an operator under torch.func."""
    _FUNCTIONS[kind] = _function(kind, formula)


def call_in_sight(kind: type[Call], values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the results of an operator, which torch.func can see.

    torch.func does not see gradients that are registered with torch.library, so a call under
    torch.func goes through an autograd.Function.
    """
    if torch._C._are_functorch_transforms_active() and kind in _FUNCTIONS:
        results = _FUNCTIONS[kind].apply(*values)
    else:
        results = vmap.operator_of(kind)(*values)
    if results is None:
        return ()
    return (results,) if isinstance(results, Tensor) else tuple(results)


def _call_by_name(kind: type[Call], values: dict[str, Any]) -> tuple[Any, ...]:
    return call_in_sight(kind, [values[key] for key in kind.KEYS])


def _adjoint_flag(kind: type[Call]) -> str:
    return next((slot.key for slot in kind.SLOTS if slot.argument.is_adjoint), "")


def _function(kind: type[Call], formula: Formula) -> Any:
    def forward(*arguments: Any) -> Any:
        results = vmap.operator_of(kind)(*arguments)
        return tuple(results) if isinstance(results, list) else results

    members = {
        "forward": staticmethod(forward),
        "setup_context": staticmethod(formula.setup),
        "backward": staticmethod(formula.backward),
        "vmap": staticmethod(vmap.batched(kind)),
    }
    return type(kind.__name__, (torch.autograd.Function,), members)
