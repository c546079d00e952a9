"""The operators of torch.library: opcheck over layouts, dtypes and gradients; export; pytrees."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree

import ropescale_kernels as rk
import ropescale_kernels.operators
from ropescale_kernels.ops.arguments import (
    RotaryCosSinSpec,
    RotaryQKInPlaceSpec,
    RotaryQKScalingGradSpec,
    RotaryQKSpec,
)
from tools.contract.draws import DTYPES, draw, yarn

SCALING = yarn(16)
TABLE = rk.RotaryTable(SCALING)
FLAGS = (False, False, False, "auto")

pytestmark = [
    pytest.mark.filterwarnings("ignore::ropescale_kernels.RopeScaleWarning"),
    # torch.export and opcheck import code that torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning"),
]


def heads(nheads: int, dtype: torch.dtype = torch.float32, layout: str = "contiguous") -> Tensor:
    x = draw(2, 5, nheads, 20, dtype=dtype, seed=nheads)
    if layout == "heads first":
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "packed":
        return torch.cat([x, x], dim=2)[:, :, :nheads]
    return x


def operands(table: rk.RotaryTable = TABLE) -> tuple[Any, ...]:
    return torch.arange(5), None, *table.state


LAYOUTS = ["contiguous", "heads first", "packed"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("with_k", [False, True])
def test_rotary_qk_is_a_proper_operator(
    layout: str, dtype: torch.dtype, requires_grad: bool, with_k: bool
) -> None:
    q = heads(3, dtype, layout).detach().requires_grad_(requires_grad)
    k = heads(1, dtype, layout).detach().requires_grad_(requires_grad) if with_k else None
    arguments = (q, k, *operands(), None, None, *FLAGS)
    torch.library.opcheck(torch.ops.ropescale.rotary_qk.default, arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_k", [False, True])
def test_rotary_qk_in_place_is_a_proper_operator(
    layout: str, dtype: torch.dtype, with_k: bool
) -> None:
    q, k = heads(3, dtype, layout), heads(1, dtype, layout) if with_k else None
    arguments = (q, k, *operands(), *FLAGS)
    torch.library.opcheck(torch.ops.ropescale.rotary_qk_.default, arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_rotary_cos_sin_is_a_proper_operator(
    layout: str, dtype: torch.dtype, requires_grad: bool
) -> None:
    q = heads(3, dtype, layout).detach().requires_grad_(requires_grad)
    rows = torch.rand(7, 8), torch.rand(7, 8), torch.tensor([0, 6, 2, 1, 1])
    arguments = (q, heads(2, dtype), *rows, 16, True, False, "auto")
    torch.library.opcheck(torch.ops.ropescale.rotary_cos_sin.default, arguments)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_gradients_of_the_scaling_are_proper_operators(requires_grad: bool) -> None:
    inv_freq = SCALING.inv_freq.requires_grad_()
    table = rk.RotaryTable.from_inv_freq(inv_freq, torch.tensor(1.2, requires_grad=True))
    q, k = heads(3), heads(1)
    sources = tuple(x.detach().requires_grad_() for x in table.sources if x is not None)
    q.requires_grad_(requires_grad)
    arguments = (q, k, *operands(table), *sources, *FLAGS)
    torch.library.opcheck(torch.ops.ropescale.rotary_qk.default, arguments)
    arguments = (heads(3), heads(1), q.detach(), k, *operands(table), *FLAGS)
    torch.library.opcheck(torch.ops.ropescale.rotary_qk_scaling_grad.default, arguments)


def test_a_graph_may_hand_over_rows_that_are_not_contiguous() -> None:
    """A compiler is free in its layouts; the public function refuses such q."""
    q = heads(3).movedim(-1, 0).contiguous().movedim(0, -1)
    assert q.stride(-1) != 1
    want = rk.apply_rotary_qk(q.contiguous(), None, torch.arange(5), TABLE)[0]
    got = torch.ops.ropescale.rotary_qk(q, None, *operands(), None, None, *FLAGS)[0]
    assert torch.equal(got, want)
    torch.ops.ropescale.rotary_qk_(q, None, *operands(), *FLAGS)
    assert torch.equal(q, want)


class Passed(torch.nn.Module):
    def forward(self, q: Tensor, k: Tensor, at: Tensor, table: rk.RotaryTable) -> Any:
        return rk.apply_rotary_qk(q, k, at, table)


class Held(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rotary = rk.RotaryEmbedding(SCALING)

    def forward(self, q: Tensor, k: Tensor, at: Tensor) -> Any:
        return self.rotary(q, k, at)


def dynamic_table() -> rk.RotaryTable:
    default = rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4)
    return rk.RotaryTable([SCALING, default, SCALING], dynamic=True)


@pytest.mark.parametrize("strict", [False, True])
def test_a_model_that_holds_a_table_is_exported(strict: bool) -> None:
    inputs = heads(3), heads(1), torch.arange(5)
    tokens = torch.export.Dim("tokens")
    program = torch.export.export(
        Held(), inputs, strict=strict, dynamic_shapes=({1: tokens}, {1: tokens}, {0: tokens})
    )
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert calls[0] is torch.ops.ropescale.rotary_qk.default
    fewer = inputs[0][:, :3], inputs[1][:, :3], inputs[2][:3]
    for got, want in zip(program.module()(*fewer), Held()(*fewer), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("table", [TABLE, dynamic_table()], ids=["static", "dynamic"])
def test_a_table_is_passed_exported_saved_and_loaded(table: rk.RotaryTable) -> None:
    inputs = heads(3), heads(1), torch.arange(5), table
    file = io.BytesIO()
    torch.export.save(torch.export.export(Passed(), inputs), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    other = rk.RotaryTable(list(table.scalings), dynamic=table.dynamic)
    if table.dynamic:
        other.update_(torch.tensor([100_000, 5, 200_000]))
    for got, want in zip(
        loaded(*inputs[:3], other), rk.apply_rotary_qk(*inputs[:3], other), strict=True
    ):
        assert torch.equal(got, want)


@pytest.mark.slow
def test_another_process_loads_a_program(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    inputs = heads(3), heads(1), torch.arange(5)
    torch.export.save(torch.export.export(Held(), inputs), path)
    torch.save((inputs, Held()(*inputs)), tmp_path / "values.pt")
    program = f"""
import torch, ropescale_kernels.operators
inputs, want = torch.load({str(tmp_path / "values.pt")!r})
got = torch.export.load({str(path)!r}).module()(*inputs)
assert all(torch.equal(x, y) for x, y in zip(got, want))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_table_is_a_pytree() -> None:
    table = dynamic_table()
    leaves, spec = _pytree.tree_flatten(table)
    again = _pytree.tree_unflatten(leaves, spec)
    assert again.turns_per_token is table.turns_per_token
    assert again.scalings == table.scalings
    lengths = torch.tensor([100_000, 5, 200_000])
    again.update_(lengths)
    want = dynamic_table()
    want.update_(lengths)
    for x, y in zip(again.state, want.state, strict=True):
        assert (x is None) == (y is None)
        assert x is None or torch.equal(x, y)
    assert spec == _pytree.tree_flatten(dynamic_table())[1]
    assert spec != _pytree.tree_flatten(TABLE)[1]
    shapes = _pytree.tree_map(lambda x: None if x is None else tuple(x.shape), table)
    assert shapes.state[0] == (3, 8, 2)
    paths = [path for path, _ in _pytree.tree_flatten_with_path(table)[0]]
    assert len(paths) == len(leaves)


@pytest.mark.parametrize("make", [copy.deepcopy, copy.copy])
def test_a_copied_table_rotates_alike(make: Any) -> None:
    table = make(dynamic_table())
    q = heads(3)
    got = rk.apply_rotary_qk(q, None, torch.arange(5), table)[0]
    assert torch.equal(got, rk.apply_rotary_qk(q, None, torch.arange(5), dynamic_table())[0])
    table.update_(torch.tensor([100_000, 5, 200_000]))


def test_a_table_is_loaded_with_weights_only() -> None:
    file = io.BytesIO()
    torch.save({"table": dynamic_table()}, file)
    file.seek(0)
    table = torch.load(file, weights_only=True)["table"]
    assert torch.equal(table.turns_per_token, dynamic_table().turns_per_token)


def test_a_trace_holds_the_operator() -> None:
    q = heads(3)
    traced = make_fx(lambda q: rk.apply_rotary_qk(q, None, torch.arange(5), TABLE)[0])(q)
    assert "ropescale.rotary_qk" in traced.code
    assert torch.equal(traced(q), rk.apply_rotary_qk(q, None, torch.arange(5), TABLE)[0])


def test_every_operator_is_registered() -> None:
    for kind in (RotaryQKSpec, RotaryQKInPlaceSpec, RotaryQKScalingGradSpec, RotaryCosSinSpec):
        assert torch.Tag.pt2_compliant_tag in getattr(torch.ops.ropescale, kind.NAME).default.tags


def changed(arguments: tuple[Any, ...], at: int, value: Any) -> tuple[Any, ...]:
    return (*arguments[:at], value, *arguments[at + 1 :])


def test_an_operator_checks_what_it_is_given() -> None:
    """Called past the public functions, or from a graph that somebody changed."""
    good = (heads(3), heads(1), *operands(), None, None, *FLAGS)
    wrong: list[tuple[int, Any, str]] = [
        (1, heads(1).half(), "k: expected torch.float32 as q"),
        (2, torch.arange(4), "position_ids: expected shape"),
        (3, torch.zeros(2, 5), "profile_ids: expected int32"),
        (4, TABLE.turns_per_token[:, :3], "steps: expected contiguous int32"),
        (5, TABLE.inv_freq_bits.long(), "inv_freq_bits: expected|steps: expected"),
        (6, TABLE.attention_factor_bits[:, :1], "factor_bits: expected"),
        (7, torch.zeros(3, dtype=torch.int32), "axis_ids: expected"),
        (8, TABLE.inv_freq_bits, "scales: expected pos_freqs, ramp and scales"),
        (16, "gpu", "impl: expected one of"),
    ]
    for at, value, words in wrong:
        with pytest.raises((rk.RopeScaleTypeError, rk.RopeScaleValueError), match=words):
            torch.ops.ropescale.rotary_qk(*changed(good, at, value))
    with pytest.raises(rk.RopeScaleValueError, match="grad_q: expected"):
        torch.ops.ropescale.rotary_qk_scaling_grad(heads(2), heads(1), *good[:11], *FLAGS)
    rows = torch.rand(4, 8), torch.rand(4, 8), None, 16, True, False, "auto"
    with pytest.raises(rk.RopeScaleValueError, match="cos: expected shape"):
        torch.ops.ropescale.rotary_cos_sin(heads(3), None, *rows)
