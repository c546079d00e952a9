"""Registration of an operator with torch.library, from the kinds of its arguments.

The operators serve autograd, torch.compile, torch.export, torch.func, modes and subclasses. Other
calls go straight to an implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ..table.state import TableTensors
from . import autograd, vmap
from .implementations import empty_like
from .kinds import Call, Kind, Output, bind, call_from, returns_list, schema_of, values_of

# The results of a kernel in the order of OUTPUTS, None for a result that is absent.
Kernel = Callable[[Any], "Sequence[Tensor | None]"]


def register(
    kind: type[Call],
    kernel: Kernel,
    *,
    gradients: autograd.Gradients | None = None,
    leaf_gradients: type[Call] | None = None,
) -> None:
    """Register an operator: schema, kernel, results without data, gradients and batches.

    Args:
        kind: The operator's dataclass.
        kernel: Takes a call and returns its results. The kernel writes those fields of the call
            that are declared as written.
        gradients: Returns the gradients of an operator that is not its own adjoint.
        leaf_gradients: The operator that computes the gradients of a table's leaves.
    """
    name = f"{kind.NAMESPACE}::{kind.NAME}"
    torch.library.define(name, schema_of(kind), tags=(torch.Tag.pt2_compliant_tag,))
    torch.library.impl(name, "default")(_run(kind, kernel))
    torch.library.register_fake(name, _results_without_data(kind))
    torch.library.register_vmap(name, vmap.batched(kind))
    formula = autograd.Formula(kind, gradients, leaf_gradients)
    if not formula.is_differentiable:
        return
    autograd.show_to_torch_func(kind, formula)
    if kind.WRITTEN:
        from torch._library.autograd import Info, make_autograd_impl

        # register_autograd takes no operator that writes an argument.
        impl = make_autograd_impl(vmap.operator_of(kind), Info(formula.backward, formula.setup))
        library: Any = _library(kind.NAMESPACE)
        library.impl(kind.NAME, impl, "Autograd", with_keyset=True)
    else:
        torch.library.register_autograd(name, formula.backward, setup_context=formula.setup)


@cache
def _library(namespace: str) -> torch.library.Library:
    return torch.library.Library(namespace, "FRAGMENT")  # type: ignore[no-untyped-call]


def call_operator(kind: type[Call], call: Any) -> tuple[Tensor | None, ...]:
    """Return the results of an operator on a checked call, None for a result that is absent.

    Args:
        kind: The operator.
        call: A call with the operator's fields. Output buffers in it are not read.
    """
    values = values_of(kind, call)
    heads = getattr(call, kind.HEADS[0])
    if isinstance(heads, FakeTensor) and not torch.compiler.is_compiling():
        # A table may hold real tensors while the activations are fake.
        for at, (slot, x) in enumerate(zip(kind.SLOTS, values, strict=True)):
            is_of_table = slot.part in TableTensors._fields and x is not None
            if is_of_table and not isinstance(x, FakeTensor):
                values[at] = heads.fake_mode.from_tensor(x)
    results = autograd.call_in_sight(kind, values)
    # The tensors of a table are no fields of a call, and they are never None.
    exists = [
        getattr(call, output.like, heads) is not None
        and (not output.option or getattr(call, output.option))
        for output in kind.OUTPUTS
    ]
    if not returns_list(kind):
        return tuple(x if is_there else None for x, is_there in zip(results, exists, strict=True))
    rest = list(results)
    return tuple(rest.pop(0) if is_there else None for is_there in exists)


def _run(kind: type[Call], kernel: Kernel) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        values = bind(kind, args, kwargs)
        own = dict(values)
        for key, meaning in kind.READ:
            own[key] = _readable(meaning, values[key])
        call = call_from(kind, own)
        results = kernel(call)
        for key in kind.WRITTEN:
            given, written = values[key], own[key]
            if given is None:
                continue
            # The kernel wrote a copy if the rows given are not contiguous.
            if written.data_ptr() != given.data_ptr():
                given.copy_(written)
        return _as_returned(kind, values, results)

    return run


def _readable(kind: Kind, x: Any) -> Any:
    """Return the memory that a kernel reads: no subclass; heads and rows not negated, contiguous.

    The public functions refuse rows that are not contiguous, but a compiler may choose them.
    """
    if x is None:
        return None
    if type(x) is not Tensor:
        x = x.as_subclass(Tensor)
    if kind is Kind.HEADS or kind is Kind.ROWS:
        x = x.resolve_neg()
        # An empty tensor with a last stride of 0 counts as contiguous, so contiguous() keeps it.
        return x if x.stride(-1) == 1 else x.clone(memory_format=torch.contiguous_format)
    return x


def _results_without_data(kind: type[Call]) -> Callable[..., Any]:
    def fake(*args: Any, **kwargs: Any) -> Any:
        values = bind(kind, args, kwargs)
        return _as_returned(kind, values, [_without_data(o, values) for o in kind.OUTPUTS])

    return fake


def _without_data(output: Output, values: dict[str, Any]) -> Tensor | None:
    if not output.exists(values):
        return None
    x = values[output.like]
    if output.lead:
        dtype = output.dtype or x.dtype
        return x.new_empty((values[output.lead].shape[0], *x.shape), dtype=dtype)  # type: ignore[no-any-return]
    return empty_like(x, output.dtype)


def _as_returned(kind: type[Call], values: dict[str, Any], results: Sequence[Tensor | None]) -> Any:
    if returns_list(kind):
        return [x for x in results if x is not None]
    if not kind.OUTPUTS:
        return None
    # A schema knows no optional results, so an empty tensor stands for None.
    reference = values[kind.HEADS[0]]
    found = tuple(reference.new_empty(0) if x is None else x for x in results)
    return found if len(found) > 1 else found[0]
