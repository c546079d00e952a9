"""What `prepare` makes of a program, and what it refuses."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest
import torch
from support.bits import assert_same_bits
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels.onnx import prepare
from ropescale_kernels.onnx import program as module
from tools.contract.draws import draw, yarn

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
YARN = yarn(16)
ARGS = draw(2, 5, 3, 24), draw(2, 5, 2, 24, seed=1), torch.arange(5)


class Model(torch.nn.Module):
    """Calls given as functions of q, k, position_ids and the table."""

    def __init__(self, table: Any, *calls: Any) -> None:
        super().__init__()
        self.table, self.calls = table, calls

    def forward(self, q: Tensor, k: Tensor, at: Tensor, *rest: Any) -> tuple[Any, ...]:
        for call in self.calls:
            q, k = call(q, k, at, self.table, *rest)
        return q, k


def exported(table: Any, *calls: Any, rest: tuple[Any, ...] = ()) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(Model(table, *calls), (*ARGS, *rest))


def conjugated(*args: Any) -> Any:
    return rk.apply_rotary_qk(*args, conjugate=True)


def q_alone(q: Tensor, k: Tensor, at: Tensor, table: rk.RotaryTable) -> Any:
    return rk.apply_rotary_qk(q, None, at, table)[0], k


def caches(program: torch.export.ExportedProgram) -> dict[str, Tensor]:
    return {name: x for name, x in program.constants.items() if name.startswith("ropescale_")}


def operators(program: torch.export.ExportedProgram) -> list[str]:
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def test_the_given_program_is_left_as_it_is() -> None:
    given = exported(rk.RotaryTable(YARN), rk.apply_rotary_qk)
    before = str(given), set(given.constants)
    prepared = prepare(given, max_position=9)
    assert (str(given), set(given.constants)) == before
    names = (given.graph_signature.user_inputs, given.graph_signature.user_outputs)
    signature = prepared.graph_signature
    assert (signature.user_inputs, signature.user_outputs) == names
    # Of the table, only its rows are left.
    assert set(prepared.constants) == {"ropescale_cos_0", "ropescale_sin_0"}
    assert not [name for name in operators(prepared) if "ropescale" in name]
    assert operators(prepared).count("onnx.RotaryEmbedding.opset23") == 2


def test_a_prepared_program_is_saved_and_a_loaded_program_is_prepared() -> None:
    given, files = exported(rk.RotaryTable(YARN), rk.apply_rotary_qk), (io.BytesIO(), io.BytesIO())
    torch.export.save(given, files[0])
    prepared = prepare(torch.export.load(files[0]), max_position=9)
    torch.export.save(prepared, files[1])
    loaded = torch.export.load(files[1])
    want = prepare(given, max_position=9).module()(*ARGS)
    assert_same_bits(tuple(loaded.module()(*ARGS)), tuple(want))


@pytest.mark.parametrize(
    ("magnitude", "calls", "count"),
    [
        ("both", [rk.apply_rotary_qk, rk.apply_rotary_qk], 1),
        ("both", [rk.apply_rotary_qk, conjugated], 2),
        ("query", [rk.apply_rotary_qk, rk.apply_rotary_qk], 2),
        ("query", [q_alone], 1),
    ],
)
def test_equal_rows_are_held_once(magnitude: str, calls: list[Any], count: int) -> None:
    program = prepare(exported(rk.RotaryTable(YARN, magnitude=magnitude), *calls), max_position=9)
    assert len(caches(program)) == 2 * count
    assert {tuple(x.shape) for x in caches(program).values()} == {(11, 8)}


def test_tables_of_equal_bits_share_their_rows() -> None:
    first, equal = rk.RotaryTable(YARN), rk.RotaryTable(YARN)
    other = rk.RotaryTable(yarn(16, factor=8.0))

    def by(table: rk.RotaryTable) -> Any:
        return lambda q, k, at, _: rk.apply_rotary_qk(q, k, at, table)

    assert len(caches(prepare(exported(None, by(first), by(equal)), max_position=9))) == 2
    assert len(caches(prepare(exported(None, by(first), by(other)), max_position=9))) == 4


def test_the_largest_position_is_0_or_more() -> None:
    program = exported(rk.RotaryTable(YARN), rk.apply_rotary_qk)
    q, _ = prepare(program, max_position=0).module()(*ARGS)
    rotated = q[..., :16]
    torch.testing.assert_close(rotated[:, 0], YARN.attention_factor * ARGS[0][:, 0, :, :16])
    assert rotated[:, 1:].isnan().all()
    for value, kind in ((-1, ValueError), (True, TypeError), (9.0, TypeError), (None, TypeError)):
        with pytest.raises(kind, match=r"^max_position: expected (0 or more|an int), got "):
            prepare(program, max_position=value)  # type: ignore[arg-type]


def test_another_kind_of_program_is_refused() -> None:
    message = r"^program: expected the ExportedProgram that torch.export.export returns, got Model$"
    with pytest.raises(TypeError, match=message):
        prepare(Model(None), max_position=9)  # type: ignore[arg-type]


def test_a_program_without_our_operators_is_refused() -> None:
    program = exported(None, lambda q, k, at, table: (q + 1, k))
    with pytest.raises(ValueError, match=r"^program: expected a call of ropescale::.*, got none"):
        prepare(program, max_position=9)


def after_update(q: Tensor, k: Tensor, at: Tensor, table: Any, seq_lens: Tensor) -> Any:
    table.update_(seq_lens)
    return rk.apply_rotary_qk(q, k, at, table)


def before_update(q: Tensor, k: Tensor, at: Tensor, table: Any, seq_lens: Tensor) -> Any:
    results = rk.apply_rotary_qk(q, k, at, table)
    table.update_(seq_lens)
    return results


def table_given(q: Tensor, k: Tensor, at: Tensor, _: None, table: rk.RotaryTable) -> Any:
    return rk.apply_rotary_qk(q, k, at, table)


def under_no_grad(q: Tensor, k: Tensor, at: Tensor, table: rk.RotaryTable) -> Any:
    with torch.no_grad():
        return rk.apply_rotary_qk(q, k, at, table)


def in_place(q: Tensor, k: Tensor, at: Tensor, table: rk.RotaryTable) -> Any:
    q, k = q.clone(), k.clone()
    rk.apply_rotary_qk_(q, k, at, table)
    return q, k


def test_a_dynamic_table_is_refused() -> None:
    program = exported(rk.RotaryTable(YARN, dynamic=True), rk.apply_rotary_qk)
    with pytest.raises(rk.RopeScaleUnsupportedError, match=r"^table: expected a static table, "):
        prepare(program, max_position=9)


@pytest.mark.parametrize("call", [after_update, before_update])
def test_a_table_that_the_graph_updates_is_refused(call: Any) -> None:
    scaling = rk.RopeScaling.dynamic_ntk(
        rotary_dim=16, rope_theta=1e4, factor=2.0, max_position_embeddings=64
    )
    program = exported(rk.RotaryTable(scaling, dynamic=True), call, rest=(torch.tensor([99]),))
    message = r"^table: expected a table that the program holds as a constant, got steps from "
    with pytest.raises(rk.RopeScaleUnsupportedError, match=message):
        prepare(program, max_position=9)


def test_a_table_that_is_an_input_is_refused() -> None:
    program = exported(None, table_given, rest=(rk.RotaryTable(YARN),))
    message = r"^table: .* got steps from .*\. Make the table an attribute of the model"
    with pytest.raises(rk.RopeScaleUnsupportedError, match=message):
        prepare(program, max_position=9)


def test_a_call_in_a_subgraph_is_refused() -> None:
    model = Model(rk.RotaryTable(YARN), under_no_grad)
    message = r"^program: expected .* got submod_\w*\.rotary_qk\. .*export under torch.no_grad"
    with pytest.raises(rk.RopeScaleUnsupportedError, match=message):
        prepare(torch.export.export(model, ARGS), max_position=9)
    # As the message says.
    assert caches(prepare(exported(model.table, under_no_grad), max_position=9))


def test_a_decomposed_call_in_place_is_refused() -> None:
    program = exported(rk.RotaryTable(YARN), in_place)
    assert caches(prepare(program, max_position=9))
    message = r"^program: expected .* got the decomposed call .*before run_decompositions\.$"
    with pytest.raises(rk.RopeScaleUnsupportedError, match=message):
        prepare(program.run_decompositions({}), max_position=9)


def test_an_operator_that_is_not_followed_is_refused() -> None:
    def gradients(q: Tensor, k: Tensor, at: Tensor, table: rk.RotaryTable) -> Any:
        options = (*table.state, False, False, False, "auto")
        return torch.ops.ropescale.rotary_qk_scaling_grad(q, k, q, k, at, None, *options)

    import ropescale_kernels.operators  # noqa: F401

    program = exported(rk.RotaryTable(YARN), gradients)
    message = r"^program: expected calls of rotary_qk, .*, got rotary_qk_scaling_grad$"
    with pytest.raises(rk.RopeScaleUnsupportedError, match=message):
        prepare(program, max_position=9)


def test_an_option_that_is_not_followed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FOLLOWED", module._FOLLOWED - {"conjugate"})
    program = exported(rk.RotaryTable(YARN), conjugated)
    with pytest.raises(rk.RopeScaleUnsupportedError, match=r"^conjugate: expected .*, got True$"):
        prepare(program, max_position=9)


def test_neither_onnx_nor_onnxscript_is_imported() -> None:
    program = (
        "import sys; sys.modules['onnx'] = sys.modules['onnxscript'] = None\n"
        "import ropescale_kernels as rk; print(rk.onnx.prepare.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["prepare"], done.stderr
