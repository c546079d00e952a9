"""RotaryTable as a pytree: tensors are leaves, other values are static.

torch.export and torch.func can therefore flatten a table, and an exported program can be saved with
one.
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
from .state import GradLeaves, TableState, TableTensors, schema_name

if TYPE_CHECKING:
    from .rotary_table import RotaryTable


# The leaves of every table; the index tensors of its groups follow.
_FIELDS = (*TableTensors._fields, *GradLeaves._fields)
_NUM_TENSORS = len(TableTensors._fields)


class _Static(NamedTuple):
    """The values of a table that are no tensors."""

    scalings: tuple[RopeScaling, ...]
    dynamic: bool
    magnitude: str
    num_axes: int
    frequency_dtype: str


def _flatten(table: RotaryTable) -> tuple[list[Any], _Static]:
    indices = [index for _, index in table._groups]
    static = _Static(
        table.scalings, table.dynamic, table.magnitude, table.num_axes, table.frequency_dtype
    )
    return [*table.state, *table.sources, *indices], static


def _flatten_with_keys(table: RotaryTable) -> tuple[list[tuple[Any, Any]], _Static]:
    leaves, static = _flatten(table)
    names = [schema_name(name) for name in _FIELDS]
    names += [f"group_{i}" for i in range(len(leaves) - len(names))]
    keys = [_pytree.GetAttrKey(name) for name in names]
    return list(zip(keys, leaves, strict=True)), static


def _unflatten(kind: type[RotaryTable], leaves: Iterable[Any], static: _Static) -> RotaryTable:
    leaves = list(leaves)
    tensors, sources = leaves[:_NUM_TENSORS], leaves[_NUM_TENSORS : len(_FIELDS)]
    table = kind.__new__(kind)
    table.scalings, table.dynamic, table.magnitude = static[:3]
    table.sources = tuple(sources)
    table._groups = table._grouped(leaves[len(_FIELDS) :])
    if isinstance(tensors[0], Tensor):
        own = TableTensors(*tensors)
        TableState.__init__(table, own, static.num_axes, static.frequency_dtype)
    else:
        # A tree may be mapped to something else than tensors: shapes, shardings, names.
        table.state, table.num_axes = tuple(tensors), static.num_axes
        table.frequency_dtype = static.frequency_dtype
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
    """Return the arguments of `rebuild`: tensors and plain values, which any unpickler accepts."""
    leaves, static = _flatten(table)
    return leaves, _dump(static)


def rebuild(leaves: list[Any], dumped: Any) -> RotaryTable:
    """Return the table that was pickled."""
    from .rotary_table import RotaryTable

    return _unflatten(RotaryTable, leaves, _load(dumped))


def register(kind: type[RotaryTable]) -> None:
    """Register the class with torch, also for `torch.load(..., weights_only=True)`."""
    # Tables saved by version 0.1.0 name the second.
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
