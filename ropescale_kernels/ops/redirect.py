"""Calls that somebody takes over: shards of DTensors, tensor-like arguments, function modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.compiler import is_compiling
from torch.overrides import handle_torch_function, has_torch_function

from .dtensor import call_on_shards, is_sharded
from .kinds import Call


def is_redirected(q: Any, k: Any, *others: Any) -> bool:
    """Return whether a DTensor, an argument with `__torch_function__` or a mode takes over a call.

    torch.fx.symbolic_trace passes such arguments; they are no tensors.
    """
    return is_sharded(q, k) or (not is_compiling() and has_torch_function((q, k, *others)))


def redirected(function: Callable[..., Any], kind: type[Call], **arguments: Any) -> Any:
    """Return the results of a redirected call of a public function.

    Args:
        function: The public function.
        kind: The operator behind the function.
        arguments: The function's arguments by name.
    """
    values = tuple(arguments.values())
    # A mode sees the call as the user made it. Compilers trace the operator instead.
    if not is_compiling() and has_torch_function(values):
        return handle_torch_function(function, values, **arguments)
    return call_on_shards(function, kind, **arguments)
