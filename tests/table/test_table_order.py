"""The order of a table's tensors is written once; C++, Triton, schemas and files follow it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch.utils import _pytree

import ropescale_kernels as rk
from ropescale_kernels.table.state import GradLeaves, TableTensors, schema_name

ROOT = Path(__file__).resolve().parents[2]
SCALING = rk.RopeScaling.yarn(
    rotary_dim=16, rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768
)
# The C header's names of the fields, apart from those that Python calls by the same name.
C_NAMES = {
    "turns_per_token": "steps",
    "inv_freq_bits": "inv_freq",
    "attention_factor_bits": "factors",
    "factors": "scales",
}
C_ORDER = [C_NAMES.get(name, name) for name in TableTensors._fields]


def test_the_reader_in_cpp_takes_the_tensors_in_order() -> None:
    text = "".join(path.read_text() for path in sorted((ROOT / "csrc" / "python").glob("*.h")))
    found = re.search(r"TensorView\* views\[\] = \{(.*?)\};", text, re.DOTALL)
    assert found is not None
    assert re.findall(r"&table\.(\w+)", found[1]) == C_ORDER
    assert f"state.size() != {len(C_ORDER)}" in text


@pytest.mark.parametrize("kernel", ["rotary_qk", "scaling_grad"])
def test_the_triton_kernels_take_the_tensors_in_order(kernel: str) -> None:
    pytest.importorskip("triton")
    module = pytest.importorskip(f"ropescale_kernels.backends.triton.{kernel}")
    names = getattr(module, f"{kernel}_kernel").arg_names
    first = names.index("profile_ptr") + 1
    wanted = ["axis_ptr" if name == "axis_ids" else f"{name}_ptr" for name in C_ORDER]
    assert names[first : first + len(wanted)] == wanted


@pytest.mark.parametrize("name", ["rotary_qk", "rotary_qk_", "rotary_qk_scaling_grad"])
def test_the_schemas_take_the_tensors_in_order(name: str) -> None:
    import ropescale_kernels.operators  # noqa: F401

    operator = getattr(torch.ops.ropescale, name).default
    names = [argument.name for argument in operator._schema.arguments]
    first = names.index("profile_ids") + 1
    wanted = [schema_name(field) for field in TableTensors._fields]
    assert names[first : first + len(wanted)] == wanted


def test_a_saved_table_keeps_the_order_and_the_names() -> None:
    table = rk.RotaryTable([SCALING] * 2, dynamic=True)
    paths, _ = _pytree.tree_flatten_with_path(table)
    names = [path[0].name for path, _ in paths]
    fields = (*TableTensors._fields, *GradLeaves._fields)
    assert names[: len(fields)] == [schema_name(field) for field in fields]
    for (_, leaf), tensor in zip(paths, table.tensors, strict=False):
        assert leaf is tensor


def test_the_names_of_the_schema_read_the_same_tensors() -> None:
    table = rk.RotaryTable(SCALING)
    assert table.steps is table.turns_per_token
    assert table.factor_bits is table.attention_factor_bits


def test_the_fast_call_can_read_a_table() -> None:
    """The reader in C++ takes exact tuples only."""
    table = rk.RotaryTable(SCALING)
    assert type(table.state) is tuple
    assert type(table.sources) is tuple
    leaf = SCALING.inv_freq.requires_grad_()
    with_leaf = rk.RotaryTable.from_inv_freq(leaf)
    assert type(with_leaf.sources) is tuple
    assert GradLeaves(*with_leaf.sources).inv_freq is with_leaf.sources[0] is not None
