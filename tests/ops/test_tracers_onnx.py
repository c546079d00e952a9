"""The exporters to ONNX: a graph has the operator as a node of its own, or there is no graph."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from tests.support.bits import differing
from tests.support.blind import blinded
from tools.contract.draws import draw, yarn

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
pytest.importorskip("onnxscript")

# Both exporters import much: 12 s in all.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

TABLE = rk.RotaryTable(yarn(16))


class OutOfPlace(torch.nn.Module):
    operator = "rotary_qk"

    def forward(self, q: Tensor, k: Tensor, at: Tensor) -> Any:
        return rk.apply_rotary_qk(q, k, at, TABLE)


class InPlace(torch.nn.Module):
    operator = "rotary_qk"

    def forward(self, q: Tensor, k: Tensor, at: Tensor) -> Any:
        q, k = q * 2, k * 2
        rk.apply_rotary_qk_(q, k, at, TABLE)
        return q, k


class GivenRows(torch.nn.Module):
    operator = "rotary_cos_sin"

    def forward(self, q: Tensor, k: Tensor, rows: Tensor) -> Any:
        return rk.apply_rotary_cos_sin(q, k, rows[0], rows[1], rotary_dim=16)


MODELS = [OutOfPlace(), InPlace(), GivenRows()]


def inputs(model: Any, seed: int) -> tuple[Tensor, ...]:
    heads = draw(2, 5, 3, 20, seed=seed), draw(2, 5, 1, 20, seed=seed + 1)
    if isinstance(model, GivenRows):
        return *heads, draw(2, 2, 5, 8, seed=seed + 2)
    return *heads, torch.arange(5) + 1000 * seed


def exported(model: Any, **options: Any) -> Any:
    file = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(model, inputs(model, seed=0), file, dynamo=False, **options)
    return onnx.load_from_string(file.getvalue())


def with_own_nodes(model: Any) -> Any:
    return exported(
        model,
        operator_export_type=torch.onnx.OperatorExportTypes.ONNX_FALLTHROUGH,
        custom_opsets={"ropescale": 1},
    )


def operator_node(name: str) -> Any:
    """Return an implementation of a node of domain ropescale for ONNX's reference evaluator."""

    def run(self: Any, *args: Any) -> Any:
        schema = getattr(torch.ops.ropescale, name).default._schema.arguments
        values = []
        for argument, x in zip(schema, args, strict=True):
            if x is not None and "Tensor" in str(argument.type):
                values.append(torch.from_numpy(x.copy()))
            else:
                values.append(None if x is None else x.item())
        results = getattr(torch.ops.ropescale, name)(*values)
        return tuple(x.numpy() for x in results)

    return type(name, (reference.op_run.OpRun,), {"op_domain": "ropescale", "_run": run})


def evaluated(graph: Any, model: Any, given: tuple[Tensor, ...]) -> list[Tensor]:
    evaluator = reference.ReferenceEvaluator(graph, new_ops=[operator_node(model.operator)])
    names = [x.name for x in graph.graph.input]
    feeds = {name: x.numpy() for name, x in zip(names, given, strict=False)}
    return [torch.from_numpy(x) for x in evaluator.run(None, feeds)]


@pytest.mark.parametrize("model", MODELS)
def test_the_exporter_of_traces_refuses_the_operator(model: Any) -> None:
    want = f"unrecognized namespace ropescale::{model.operator}"
    with pytest.raises(torch.onnx.errors.UnsupportedOperatorError, match=want):
        exported(model)


@pytest.mark.parametrize("model", MODELS)
def test_the_exporter_of_traces_writes_a_node_if_it_may(model: Any) -> None:
    graph = with_own_nodes(model)
    own = [node.op_type for node in graph.graph.node if node.domain == "ropescale"]
    assert own == [model.operator]
    other = inputs(model, seed=7)
    got, want = evaluated(graph, model, other), model(*other)
    assert [differing(x, y) for x, y in zip(got, want, strict=True)] == [0, 0]


@pytest.mark.parametrize("model", MODELS)
def test_a_short_call_would_leave_no_node(model: Any) -> None:
    with blinded():
        graph = with_own_nodes(model)
    assert not [node for node in graph.graph.node if node.domain == "ropescale"]


@pytest.mark.parametrize("model", MODELS)
def test_the_exporter_of_programs_names_the_operator_that_it_lacks(model: Any) -> None:
    with torch.no_grad(), pytest.raises(Exception, match=f"ropescale.{model.operator}"):
        torch.onnx.export(model, inputs(model, seed=0), dynamo=True, verbose=False)
