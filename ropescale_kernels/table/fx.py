"""The table as an attribute of a module that torch.fx traces."""

from __future__ import annotations

from itertools import count
from typing import Any


def get_attr_node(tracer: Any, table: object) -> Any:
    """Return a node that reads `table` from the traced module.

    A table that no submodule holds becomes an attribute of the root, as torch.fx does with tensors.
    """
    for path, module in tracer.root.named_modules():
        for name, value in vars(module).items():
            if value is table:
                return tracer.create_node("get_attr", f"{path}.{name}".lstrip("."), (), {})
    names = (f"_rotary_table{i}" for i in count())
    name = next(name for name in names if not hasattr(tracer.root, name))
    setattr(tracer.root, name, table)
    return tracer.create_node("get_attr", name, (), {})
