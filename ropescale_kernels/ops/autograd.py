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
from .kinds import Call, Kind, bind, by_name, present
from .transforms import needs_autograd_function

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
        # Arguments by their places in the schema.
        at = self._at = {key: i for i, key in enumerate(kind.KEYS)}
        self._heads = [at[name] for name in kind.HEADS]
        self._rotated = [like for like, _ in kind.PLAN.results]
        self._leaves = [at[slot.key] for slot in kind.SLOTS if slot.part in GradLeaves._fields]
        self._rest = [at[slot.key] for slot in kind.SLOTS if not slot.is_tensor]
        self._saved = [at[key] for key, of in kind.READ if of not in (Kind.BUFFER, Kind.HEADS)]
        self._saved_for_leaves = [at[key] for key, of in kind.READ if of is not Kind.BUFFER]
        flags = [at[slot.key] for slot in kind.SLOTS if slot.argument.is_adjoint]
        self._adjoint_flag = flags[0] if flags else -1
        has_adjoint = bool(flags and kind.OUTPUTS)
        if has_adjoint and gradients is None:
            rotated = [output.like for output in kind.OUTPUTS]
            buffers = [key for key, of in kind.READ if of is Kind.BUFFER]
            one_result_each = len(set(rotated)) == len(rotated)
            assert one_result_each, f"{kind.NAME}: two results like one argument need gradients"
            alone = not (kind.PLAN.written or buffers)
            assert alone, f"{kind.NAME}: an operator that writes or reads a buffer needs gradients"
        self.is_differentiable = gradients is not None or has_adjoint

    def setup(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save the tensors besides heads; save heads only if a leaf of the table requires grad."""
        values = bind(self._kind, inputs)
        of_leaves = False
        for at in self._leaves:
            x = values[at]
            of_leaves = of_leaves or (x is not None and x.requires_grad)
        ctx.set_materialize_grads(False)
        ctx.rest = [values[at] for at in self._rest]
        ctx.places = self._saved_for_leaves if of_leaves else self._saved
        ctx.heads_shape = values[self._kind.PLAN.heads].shape
        ctx.exists = present(self._kind, values)
        # Saved tensors let autograd see a table that is updated, or positions that are rewritten,
        # before backward.
        ctx.save_for_backward(*[values[at] for at in ctx.places])

    def backward(self, ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients of all arguments."""
        needs = ctx.needs_input_grad
        upstream = self._per_output(ctx, grads)
        found: dict[int, Tensor | None] = {}
        if any(x is not None for x in upstream):
            values: list[Any] = [None] * len(self._at)
            for at, x in zip(self._rest, ctx.rest, strict=True):
                values[at] = x
            for at, x in zip(ctx.places, ctx.saved_tensors, strict=True):
                values[at] = x
            if self._gradients is not None:
                named = self._gradients(by_name(self._kind, values), upstream)
                found = {self._at[name]: x for name, x in named.items()}
            else:
                found = self._rotate_back(values, upstream, needs, ctx.heads_shape)
        return tuple([found.get(at) if need else None for at, need in enumerate(needs)])

    def _per_output(self, ctx: Any, grads: tuple[Any, ...]) -> list[Tensor | None]:
        """Return the upstream gradient of each output, None for an output that was absent."""
        if not self._kind.PLAN.returns_list:
            # An empty tensor stood for the result of heads that were None.
            return [g if is_there else None for g, is_there in zip(grads, ctx.exists, strict=True)]
        rest = list(grads)
        return [rest.pop(0) if is_there else None for is_there in ctx.exists]

    def _rotate_back(
        self,
        values: list[Any],
        grads: Sequence[Tensor | None],
        needs: Sequence[bool],
        shape: torch.Size,
    ) -> dict[int, Tensor | None]:
        """Return the gradients of heads and of leaves, by the adjoint operator."""
        given = dict(zip(self._rotated, grads, strict=True))
        upstream = dict(given)
        first = self._heads[0]
        if upstream[first] is None:
            # An operator always takes its first heads; a tensor of 0 heads costs nothing.
            other = next(g for g in grads if g is not None)
            upstream[first] = other.new_empty((*shape[:-2], 0, shape[-1]))
        found: dict[int, Tensor | None] = {}
        if any(needs[at] for at in self._heads):
            adjoint = list(values)
            adjoint[self._adjoint_flag] = not adjoint[self._adjoint_flag]
            for at, grad in upstream.items():
                adjoint[at] = grad
            results = call_in_sight(self._kind, adjoint)
            for at, grad in zip(self._rotated, results, strict=True):
                found[at] = None if given[at] is None else grad
        if self._leaf_gradients is not None and any(needs[at] for at in self._leaves):
            for at, grad in given.items():
                if grad is None:
                    values[at] = upstream[at]
            found |= self._of_leaves(self._leaf_gradients, values, upstream)
        return found

    def _of_leaves(
        self, kind: type[Call], values: list[Any], upstream: dict[int, Tensor | None]
    ) -> dict[int, Tensor | None]:
        """Return the gradients of a table's leaves, by the operator `kind`."""
        named = by_name(self._kind, values)
        for name, meaning in kind.ARGUMENTS.items():
            if meaning.gradient:
                named[name] = upstream[self._at[meaning.gradient]]
        results = call_in_sight(kind, [named[key] for key in kind.KEYS])
        outputs = zip(kind.OUTPUTS, results, strict=True)
        return {self._at[output.gradient]: grad for output, grad in outputs}


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


def dispatched(kind: type[Call], formula: Formula) -> Callable[..., Any]:
    """Return the kernel of an operator for torch's dispatch key of autograd.

    The kernel of torch.library.register_autograd reads the schema once per argument in every call,
    which is half of the time of a call of one token.
    """
    run = vmap.operator_of(kind)

    def below(keyset: Any, args: tuple[Any, ...]) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return run.redispatch(keyset & torch._C._after_autograd_keyset, *args)

    def forward(ctx: Any, *args: Any) -> Any:
        *arguments, keyset = args
        results = below(keyset, tuple(arguments))
        formula.setup(ctx, tuple(arguments), results)
        return tuple(results) if kind.PLAN.returns_list else results

    members = {"forward": staticmethod(forward), "backward": staticmethod(formula.backward)}
    function: Any = type(f"{kind.__name__}Dispatched", (torch.autograd.Function,), members)

    def kernel(keyset: Any, *args: Any) -> Any:
        if not (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
            return below(keyset, args)
        results = function.apply(*args, keyset)
        return list(results) if kind.PLAN.returns_list else results

    return kernel


def call_in_sight(kind: type[Call], values: Sequence[Any]) -> tuple[Any, ...]:
    """Return the results of an operator, which torch.func can see.

    torch.func does not see gradients that are registered with torch.library, so a call under
    torch.func goes through an autograd.Function.
    """
    if kind in _FUNCTIONS and needs_autograd_function():
        results = _FUNCTIONS[kind].apply(*values)
    else:
        results = vmap.operator_of(kind)(*values)
    if results is None:
        return ()
    return (results,) if isinstance(results, Tensor) else tuple(results)


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
