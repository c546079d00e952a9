"""The unfused torch operations: eager, and through torch.compile with its usual options."""

from __future__ import annotations

import shutil
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ... import unfused
from ..cases import Inputs
from ._baseline import Baseline, Call, Pair, inv_freq_bytes, out_of_place


def _prepare(inputs: Inputs) -> Call:
    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        return lambda: unfused.apply_rotary_qk(
            q, k, inputs.position_ids, inputs.inv_freq, inputs.attention_factor
        )

    return out_of_place(inputs, bind)


def _compile(function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
    """Return a copy of a function, compiled.

    torch.compile keeps at most eight graphs for each code object, and a call takes any graph that
    fits, however it was compiled. A shared function would run eagerly at its ninth shape, and
    "dynamic" would run the graph of a static shape.
    """
    copy = types.FunctionType(
        function.__code__.replace(co_name=function.__name__),
        function.__globals__,
        function.__name__,
        function.__defaults__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return torch.compile(copy, dynamic=dynamic)


def _prepare_compiled(inputs: Inputs, dynamic: bool) -> Call:
    # A single graph inlines sine and cosine into the rotation and computes them again for every
    # head. That took 1.4 to 1.6 times as long in bfloat16 with 32 heads. A model tabulates them.
    tabulate, rotate = _compile(unfused.cos_sin, dynamic), _compile(unfused.rotate, dynamic)

    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        def run() -> Pair:
            cos, sin = tabulate(
                inputs.inv_freq, inputs.position_ids, q.dtype, inputs.attention_factor
            )
            rotated: Pair = rotate(q, k, cos, sin)
            return rotated

        return run

    return out_of_place(inputs, bind)


def _prepare_one_graph(inputs: Inputs) -> Call:
    whole = _compile(unfused.apply_rotary_qk, False)

    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        return lambda: whole(q, k, inputs.position_ids, inputs.inv_freq, inputs.attention_factor)

    return out_of_place(inputs, bind)


def _no_compiler(device: torch.device) -> str | None:
    if device.type == "cpu" and not any(shutil.which(c) for c in ("g++", "c++", "clang++")):
        return "no C++ compiler on PATH"
    return None


UNFUSED = Baseline("unfused torch ops", _prepare, table_bytes=inv_freq_bytes)
COMPILED = tuple(
    Baseline(name, prepare, _no_compiler, table_bytes=inv_freq_bytes)
    for name, prepare in (
        ("torch.compile", partial(_prepare_compiled, dynamic=False)),
        ("torch.compile, one graph", _prepare_one_graph),
        ("torch.compile, dynamic", partial(_prepare_compiled, dynamic=True)),
    )
)
