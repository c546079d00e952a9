"""A prepared program in torch and in onnxruntime: our cos and sin bit for bit, no error above ours.

onnxruntime and torch round a rotation in another order than the kernels. The bounds of a rotation
hold for either order. A rotation of (1, 0) is not rounded, so its bits are those of the kernels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import pytest
import torch
from support.bits import assert_same_bits
from support.onnx_cases import (
    CASES,
    COS,
    MAX_POSITION,
    OF_SHAPES,
    PROFILES,
    YARN,
    Case,
    Inputs,
    Model,
    dynamic_shapes,
    inputs,
    pairs,
    wrong,
)
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels.onnx import prepare

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning"),
]
Results = dict[str, list[Tensor]]
ENGINES = ["torch", pytest.param("onnxruntime", marks=pytest.mark.slow)]


def in_onnxruntime(program: torch.export.ExportedProgram) -> Callable[..., list[Tensor]]:
    """Return a function from the program's inputs, flat, to its results, flat."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    exported = torch.onnx.export(program, opset_version=23, verbose=False)
    assert exported is not None
    onnx.checker.check_model(exported.model_proto, full_check=True)
    assert {(x.domain, x.version) for x in exported.model_proto.opset_import} == {("", 23)}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    model = exported.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(*values: Tensor) -> list[Tensor]:
        names = [node.name for node in session.get_inputs()]
        given = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return [torch.from_numpy(y) for y in session.run(None, given)]

    return run


def runner(names: Iterable[str], engine: str, *, dynamic: bool) -> Callable[[Inputs], Results]:
    """Export a model of cases, prepare it, and return a function that runs it."""
    x, model = inputs(2, 5, seed=0), Model(names)
    shapes = dynamic_shapes(x) if dynamic else None
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes=shapes)
    program = prepare(program, max_position=MAX_POSITION)
    if engine == "torch":
        module = program.module()
        return lambda x: dict(zip(model.names, module(x), strict=True))
    run = in_onnxruntime(program)

    def by_case(x: Inputs) -> Results:
        flat = iter(run(*x.values()))
        return {name: [next(flat) for _ in CASES[name].heads(x)] for name in model.names}

    return by_case


@pytest.fixture(scope="module", params=ENGINES)
def run(request: pytest.FixtureRequest) -> Callable[[Inputs], Results]:
    """Every case, in an engine."""
    return runner(CASES, request.param, dynamic=False)


@pytest.fixture(scope="module")
def drawn(run: Callable[[Inputs], Results]) -> tuple[Inputs, Results]:
    x = inputs(2, 5, seed=1)
    return x, run(x)


@pytest.mark.parametrize("name", CASES)
def test_the_error_is_within_the_bounds(name: str, drawn: tuple[Inputs, Results]) -> None:
    x, got = drawn
    assert wrong(CASES[name], x, got[name]) == 0


def test_controls_are_out_of_bounds(drawn: tuple[Inputs, Results]) -> None:
    x, got = drawn
    next_to = x | {name: x[name] + 1 for name in ("at", "row", "flat", "axes")}
    for name in ("plain", "one-row-of-positions", "flat-int32-positions", "axes", "bfloat16"):
        assert wrong(CASES[name], next_to, got[name]) > 0
    without = dataclasses.replace(CASES["plain"], table=rk.RotaryTable(YARN, magnitude="none"))
    assert wrong(without, x, got["plain"]) > 0
    assert wrong(CASES["plain"], x, got["conjugate"]) > 0
    assert wrong(CASES["plain"], x, got["phase-float32"]) > 0
    other = x | {"profiles": 1 - x["profiles"]}
    assert wrong(CASES["profiles"], other, got["profiles"]) > 0


def test_cos_and_sin_have_the_bits_of_the_kernels(run: Callable[[Inputs], Results]) -> None:
    seen = 0
    for split in {(case.rotary_dim, case.interleaved) for case in CASES.values()}:
        x = inputs(2, 5, seed=2)
        for name in ("q", "k"):
            x[name] = torch.zeros_like(x[name])
            pairs(x[name], *split)[0].fill_(1.0)
        got = run(x)
        for name, case in CASES.items():
            if (case.rotary_dim, case.interleaved) == split:
                want = case.call(x, impl="cpu")
                assert_same_bits(tuple(got[name]), tuple(y.float() for y in want))
                seen += 1
    assert seen == len(CASES)


@pytest.mark.slow
def test_one_graph_serves_every_batch_and_length() -> None:
    run = runner(OF_SHAPES, "onnxruntime", dynamic=True)
    for batch, seqlen in ((2, 5), (1, 1), (3, 1), (1, 7), (4, 6)):
        x = inputs(batch, seqlen, seed=3)
        for name, got in run(x).items():
            assert wrong(CASES[name], x, got) == 0, (name, batch, seqlen)


def poison(case: Case, results: Iterable[Tensor]) -> None:
    """Write NaN where `out_of_range` changed the inputs of a case."""
    everywhere = torch.ones(case.rotary_dim // 2, dtype=torch.bool)
    places = {
        "at": [(0, 1, everywhere), (1, 2, everywhere)],
        "indices": [(0, 1, everywhere), (1, 2, everywhere)],
    }
    if case.table is not None and case.table.axis_ids is not None:
        places["axes"] = [(0, 1, case.table.axis_ids == 2), (1, 2, case.table.axis_ids == 0)]
    found = places.get(case.positions, [])
    if case.profiles == "profiles":
        found = [*found, (0, 3, everywhere), (1, 4, everywhere)]
    for y in results:
        of_tokens = y.unflatten(0, (2, 5)) if case.packed else y
        for batch, token, of_pairs in found:
            for half in pairs(of_tokens[batch, token], case.rotary_dim, case.interleaved):
                half[..., of_pairs] = torch.nan


def out_of_range(x: Inputs) -> Inputs:
    """Return inputs with positions, row indices and profiles that are out of range."""
    changed = x | {name: x[name].clone() for name in ("at", "axes", "indices", "profiles")}
    changed["at"][0, 1], changed["at"][1, 2] = MAX_POSITION + 1, -1
    changed["axes"][2, 0, 1], changed["axes"][0, 1, 2] = MAX_POSITION + 1, -(2**40)
    changed["indices"][0, 1], changed["indices"][1, 2] = len(COS), -1
    changed["profiles"][0, 3], changed["profiles"][1, 4] = PROFILES.num_profiles, -1
    return changed


def test_a_token_out_of_range_is_nan_and_no_other(
    run: Callable[[Inputs], Results], drawn: tuple[Inputs, Results]
) -> None:
    x, within = drawn
    got, poisoned = run(out_of_range(x)), 0
    for name, case in CASES.items():
        want = [y.clone() for y in within[name]]
        poison(case, want)
        poisoned += sum(int(y.isnan().sum()) for y in want)
        assert_same_bits(tuple(got[name]), tuple(want))
    assert poisoned > 1000


class Layer(torch.nn.Module):
    """Attention with a rotation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = torch.nn.Linear(48, 48 + 2 * 24)
        self.out = torch.nn.Linear(48, 48)
        self.rotary = rk.RotaryEmbedding(YARN)

    def forward(self, x: Tensor, position_ids: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (4, 24)).split([2, 1, 1], dim=2)
        q, k = self.rotary(q, k, position_ids)
        heads = (y.transpose(1, 2) for y in (q, k, v))
        y = torch.nn.functional.scaled_dot_product_attention(*heads, enable_gqa=True)
        return x + self.out(y.transpose(1, 2).flatten(2))


class Toy(torch.nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([Layer(), Layer()])

    def forward(self, x: Tensor, position_ids: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, position_ids)
        return x


@pytest.mark.slow
def test_a_model_of_two_layers() -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = Toy().eval()
    batch, seqlen = torch.export.Dim("batch", min=1), torch.export.Dim("seqlen", min=1)
    shapes = {"x": {0: batch, 1: seqlen}, "position_ids": {1: seqlen}}
    args = torch.randn(2, 5, 48), torch.arange(5).unsqueeze(0)
    with torch.no_grad():
        program = torch.export.export(model, args, dynamic_shapes=shapes)
        with pytest.raises(torch.onnx.errors.OnnxExporterError, match=r"ropescale\.rotary_qk"):
            torch.onnx.export(program, opset_version=23, verbose=False)
        program = prepare(program, max_position=999)
        # Both layers have the same table, so the program holds it once.
        rows = [x for x in program.constants.values() if x.shape == (1001, 8)]
        assert len(rows) == 2
        run = in_onnxruntime(program)
        for tokens in ((1, 1), (3, 7), (2, 5)):
            x, at = torch.randn(*tokens, 48), torch.randint(0, 1000, (1, tokens[1]))
            (got,) = run(x, at)
            torch.testing.assert_close(got, model(x, at))
            if tokens[1] > 1:
                assert not torch.allclose(got, model(x, torch.zeros_like(at)), atol=1e-3)
        # More tokens than rows.
        x, at = torch.randn(1, 1002, 48), torch.zeros(1, 1002, dtype=torch.int64)
        with pytest.raises(Exception, match="Updating cos_cache and sin_cache"):
            run(x, at)
        assert torch.isfinite(run(x[:, 1:], at[:, 1:])[0]).all()
