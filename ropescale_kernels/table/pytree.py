"""RotaryTable as a pytree: its tensors are leaves, all else is static.

So a table can be passed to what torch.export and torch.func flatten, and saved with an exported
program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree

from ..scaling import RopeScaling
from ..scaling.parameters import Parameters
from .state import TableState

if TYPE_CHECKING:
    from .rotary_table import RotaryTable


class _Static(NamedTuple):
    """What is no tensor."""

    scalings: tuple[RopeScaling, ...]
    dynamic: bool
    magnitude: str
    num_axes: int
    exact_source: str


def _flatten(table: RotaryTable) -> tuple[list[Any], _Static]:
    indices = [index for _, index in table._groups]
    static = _Static(
        table.scalings, table.dynamic, table.magnitude, table.num_axes, table.exact_source
    )
    return [*table.state, *table.sources, *indices], static


def _flatten_with_keys(table: RotaryTable) -> tuple[list[tuple[Any, Any]], _Static]:
    leaves, static = _flatten(table)
    names = [*TableState.NAMES, "inv_freq", "factors"]
    names += [f"group_{i}" for i in range(len(leaves) - len(names))]
    keys = [_pytree.GetAttrKey(name) for name in names]
    return list(zip(keys, leaves, strict=True)), static


def _unflatten(kind: type[RotaryTable], leaves: Iterable[Any], static: _Static) -> RotaryTable:
    leaves = list(leaves)
    count = len(TableState.NAMES)
    table = kind.__new__(kind)
    table.scalings, table.dynamic, table.magnitude = static[:3]
    table.sources = leaves[count], leaves[count + 1]
    table._groups = table._grouped(leaves[count + 2 :])
    if isinstance(leaves[0], Tensor):
        TableState.__init__(table, tuple(leaves[:count]), static.num_axes, static.exact_source)
    else:
        # Whatever else a tree is mapped to: a shape, a sharding, a name.
        table.state, table.num_axes = tuple(leaves[:count]), static.num_axes
        table.exact_source = static.exact_source
    return table


def _dump(static: _Static) -> Any:
    parameters = [dataclasses.asdict(scaling._parameters) for scaling in static.scalings]
    return [parameters, *static[1:]]


def _load(dumped: Any) -> _Static:
    parameters, *rest = dumped
    # JSON has made lists of tuples.
    values: list[dict[str, Any]] = [
        {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
        for entry in parameters
    ]
    scalings = tuple(RopeScaling._from_parameters(Parameters(**entry)) for entry in values)
    return _Static(scalings, *rest)


def reduced(table: RotaryTable) -> tuple[list[Any], Any]:
    """Give what `rebuild` takes: tensors and plain values, which any unpickler accepts."""
    leaves, static = _flatten(table)
    return leaves, _dump(static)


def rebuild(leaves: list[Any], dumped: Any) -> RotaryTable:
    """Build the table that was pickled."""
    from .rotary_table import RotaryTable

    return _unflatten(RotaryTable, leaves, _load(dumped))


def register(kind: type[RotaryTable]) -> None:
    """Make torch know of the class, and accept it in `torch.load(..., weights_only=True)`."""
    # The second is how tables of version 0.1.0 name it.
    old = "ropescale_kernels._table_tree.rebuild"
    torch.serialization.add_safe_globals([rebuild, (rebuild, old)])
    _pytree.register_pytree_node(
        kind,
        _flatten,
        partial(_unflatten, kind),
        serialized_type_name="ropescale_kernels.RotaryTable",
        to_dumpable_context=_dump,
        from_dumpable_context=_load,
        flatten_with_keys_fn=_flatten_with_keys,
    )
