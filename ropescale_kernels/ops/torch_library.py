"""Registration of an operator with torch.library, from the kinds of its arguments.

The operators serve autograd, torch.compile, torch.export, torch.func, modes and subclasses. Other
calls go straight to an implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._guards import detect_fake_mode

from . import autograd, vmap
from .implementations import empty_like
from .kinds import Call, Kind, Output, Plan, bind, by_name, call_from, present, schema_of, values_of

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
    if formula.is_differentiable:
        autograd.show_to_torch_func(kind, formula)
        library: Any = _library(kind.NAMESPACE)
        kernel_of_autograd = autograd.dispatched(kind, formula)
        library.impl(kind.NAME, kernel_of_autograd, "Autograd", with_keyset=True)


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
    heads = values[kind.PLAN.heads]
    with _real_tensors_among_fakes(heads):
        results = autograd.call_in_sight(kind, values)
    exists = present(kind, values)
    if not kind.PLAN.returns_list:
        return tuple([x if is_there else None for x, is_there in zip(results, exists, strict=True)])
    rest = list(results)
    return tuple([rest.pop(0) if is_there else None for is_there in exists])


def _real_tensors_among_fakes(heads: Tensor) -> AbstractContextManager[None]:
    """Let a call mix fake heads with the real tensors of a table, which a graph then holds."""
    if type(heads) is Tensor or torch.compiler.is_compiling():
        return nullcontext()
    mode = detect_fake_mode(heads)
    return nullcontext() if mode is None else _allow_real_tensors(mode)


@contextmanager
def _allow_real_tensors(mode: Any) -> Iterator[None]:
    allowed = mode.allow_non_fake_inputs
    mode.allow_non_fake_inputs = True
    try:
        yield
    finally:
        mode.allow_non_fake_inputs = allowed


def _run(kind: type[Call], kernel: Kernel) -> Callable[..., Any]:
    plan = kind.PLAN

    def run(*args: Any, **kwargs: Any) -> Any:
        values = bind(kind, args, kwargs)
        own = _readable(plan, values)
        results = kernel(call_from(kind, own))
        for at in plan.written:
            given, written = values[at], own[at]
            # The kernel wrote a copy if the rows given are not contiguous.
            if given is not None and written.data_ptr() != given.data_ptr():
                given.copy_(written)
        return _as_returned(kind, values, results)

    return run


def _readable(plan: Plan, values: Sequence[Any]) -> list[Any]:
    """Return the memory that a kernel reads: no subclass; heads and rows not negated.

    The channels of heads are contiguous. The public functions refuse others, but a compiler may
    choose them.
    """
    own = list(values)
    for at, kind in plan.read:
        x = own[at]
        if x is None:
            continue
        if type(x) is not Tensor:
            x = own[at] = x.as_subclass(Tensor)
        if kind is Kind.ROWS and x.is_neg():
            own[at] = x.resolve_neg()
        elif kind is Kind.HEADS and (x.is_neg() or x.stride(-1) != 1):
            x = x.resolve_neg()
            # An empty tensor with a last stride of 0 counts as contiguous; contiguous() keeps it.
            is_dense = x.stride(-1) == 1
            own[at] = x if is_dense else x.clone(memory_format=torch.contiguous_format)
    return own


def _results_without_data(kind: type[Call]) -> Callable[..., Any]:
    def fake(*args: Any, **kwargs: Any) -> Any:
        values = bind(kind, args, kwargs)
        named, exists = by_name(kind, values), present(kind, values)
        results = [
            _without_data(output, named) if is_there else None
            for output, is_there in zip(kind.OUTPUTS, exists, strict=True)
        ]
        return _as_returned(kind, values, results)

    return fake


def _without_data(output: Output, values: dict[str, Any]) -> Tensor:
    x = values[output.like]
    if output.lead:
        dtype = output.dtype or x.dtype
        return x.new_empty((values[output.lead].shape[0], *x.shape), dtype=dtype)  # type: ignore[no-any-return]
    return empty_like(x, output.dtype)


def _as_returned(kind: type[Call], values: Sequence[Any], results: Sequence[Tensor | None]) -> Any:
    if kind.PLAN.returns_list:
        return [x for x in results if x is not None]
    if not results:
        return None
    # A schema knows no optional results, so an empty tensor stands for None.
    heads = values[kind.PLAN.heads]
    found = tuple([heads.new_empty(0) if x is None else x for x in results])
    return found if len(found) > 1 else found[0]
