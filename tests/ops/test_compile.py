"""torch.compile: one graph, few recompiles, no copy for a call in place, the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import run_and_get_code
from torch.utils.checkpoint import checkpoint

import ropescale_kernels as rk
from tools.contract.draws import draw, yarn

SCALING = yarn(16)
SECTIONED = rk.RopeScaling.default(rotary_dim=16, rope_theta=1e6, mrope_section=[4, 2, 2])
TABLE = rk.RotaryTable(SCALING)

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def qk(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    return draw(2, tokens, 4, 24), draw(2, tokens, 1, 24, seed=1), torch.arange(tokens) * 1009


def same(got: Any, want: Any) -> None:
    for x, y in zip(got, want, strict=True):
        assert torch.equal(x, y)


def test_twenty_token_counts_are_one_graph_and_one_recompile() -> None:
    def block(q: Tensor, k: Tensor, at: Tensor, table: rk.RotaryTable) -> Any:
        q_out, k_out = rk.apply_rotary_qk(q * 2, k, at, table)
        return q_out + 1, k_out

    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=counter)
    for tokens in range(1, 21):
        same(compiled(*qk(tokens), TABLE), block(*qk(tokens), TABLE))
    assert counter.frame_count <= 2
    # Another table of the same kind is another input, not another graph.
    other = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4), magnitude="both")
    same(compiled(*qk(7), other), block(*qk(7), other))
    assert counter.frame_count <= 3


# What is compiled, its table, and the options of the call.
CASES: dict[str, tuple[rk.RotaryTable, dict[str, Any]]] = {
    "float32 phase": (TABLE, {"phase": "float32"}),
    "interleaved, conjugate": (TABLE, {"interleaved": True, "conjugate": True}),
    "profiles": (
        rk.RotaryTable([SCALING, SCALING]),
        {"profile_ids": torch.tensor([0, 1], dtype=torch.int32)},
    ),
    "profiles of a row": (
        rk.RotaryTable([SCALING, rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4)]),
        {"profile_ids": torch.tensor([0, 1, 1, 0, 1], dtype=torch.int32)},
    ),
    "dynamic": (rk.RotaryTable([SCALING], dynamic=True), {}),
    "axes": (rk.RotaryTable(SECTIONED), {"position_ids": torch.arange(30).view(3, 2, 5)}),
    "named": (TABLE, {"impl": "cpu"}),
    "torch operations": (TABLE, {"impl": "torch"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::ropescale_kernels.RopeScaleWarning")
def test_every_option_is_one_graph(case: str) -> None:
    table, options = CASES[case]
    q, k, at = qk(5)
    at = options.get("position_ids", at)
    options = {name: value for name, value in options.items() if name != "position_ids"}

    def call(q: Tensor, k: Tensor, at: Tensor) -> Any:
        return rk.apply_rotary_qk(q, k, at, table, **options)

    same(torch.compile(call, fullgraph=True)(q, k, at), call(q, k, at))
    rows = torch.rand(5, 8), torch.rand(5, 8)

    def by_rows(q: Tensor, k: Tensor) -> Any:
        return rk.apply_rotary_cos_sin(q, k, *rows, rows="half")

    same(torch.compile(by_rows, fullgraph=True)(q, k), by_rows(q, k))


def in_place(q: Tensor, k: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    rk.apply_rotary_qk_(q, k, at, TABLE)
    return q, k


WEIGHT = torch.randn(4 * 24, 5 * 24, generator=torch.Generator().manual_seed(2))


def packed(q: Tensor, k: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    whole = (q.flatten(2) @ WEIGHT).view(2, 5, 5, 24)
    rk.apply_rotary_qk_(whole[:, :, :4], whole[:, :, 4:], at, TABLE)
    return whole[:, :, :4], whole[:, :, 4:]


def computed(q: Tensor, k: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    return in_place(q * 2, k + 1, at)


@pytest.mark.parametrize("block", [in_place, computed, packed])
def test_in_place_costs_no_copy(block: Any) -> None:
    q, k, at = qk(5)
    want = block(q.clone(), k.clone(), at)
    got, (code,) = run_and_get_code(torch.compile(block, fullgraph=True), q, k, at)
    same(got, want)
    body = code[code.index("def call(") : code.index("def get_args")]
    assert body.count("ropescale.rotary_qk_.default(") == 1
    # One loop makes what is computed (a product of matrices needs none); none copies.
    assert body.count("cpp_fused") == {in_place: 0, computed: 1, packed: 0}[block]
    assert "copy_(" not in body
    assert "clone" not in body


def test_out_is_written() -> None:
    q, k, at = qk(5)
    buffers = torch.zeros_like(q), torch.zeros_like(k)

    def call(q: Tensor, k: Tensor) -> None:
        rk.apply_rotary_qk(q, k, at, TABLE, out=buffers)

    torch.compile(call, fullgraph=True)(q, k)
    same(buffers, rk.apply_rotary_qk(q, k, at, TABLE))


# Dynamo looks at what is no leaf: the frequencies, as the table holds them.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_gradients_are_those_of_eager_mode() -> None:
    inv_freq = SCALING.inv_freq.requires_grad_()

    def loss(q: Tensor, k: Tensor, at: Tensor, table: rk.RotaryTable) -> Tensor:
        q_out, k_out = rk.apply_rotary_qk(q, k, at, table)
        assert k_out is not None
        return (q_out * q_out.detach()).sum() + k_out.sum()

    grads = []
    for run in (loss, torch.compile(loss, fullgraph=True)):
        q, k, at = qk(5)
        table = rk.RotaryTable.from_inv_freq(inv_freq)
        leaves = [q.requires_grad_(), k.requires_grad_(), inv_freq]
        grads.append(torch.autograd.grad(run(q, k, at, table), leaves))
    for x, y in zip(*grads, strict=True):
        torch.testing.assert_close(x, y, rtol=2**-22, atol=0)


def with_frequencies(q: Tensor, inv_freq: Tensor, factor: Any, sections: Any = None) -> Tensor:
    table = rk.RotaryTable.from_inv_freq(inv_freq, factor, mrope_section=sections)
    return rk.apply_rotary_qk(q, None, torch.arange(5), table)[0]


def test_a_table_of_frequencies_is_built_in_a_graph() -> None:
    q, inv_freq = qk(5)[0], SCALING.inv_freq.requires_grad_()
    compiled = torch.compile(with_frequencies, fullgraph=True, backend="aot_eager")
    for factor, sections in ((1.5, None), (torch.tensor(0.75, requires_grad=True), (4, 2, 2))):
        leaves = [inv_freq, factor] if isinstance(factor, Tensor) else [inv_freq]
        got, want = (f(q, inv_freq, factor, sections) for f in (compiled, with_frequencies))
        same([got], [want])
        for x, y in zip(
            *(torch.autograd.grad(out.sum(), leaves) for out in (got, want)), strict=True
        ):
            torch.testing.assert_close(x, y, rtol=2**-22, atol=0)


def test_values_that_a_graph_cannot_read_give_nan() -> None:
    q, inv_freq = qk(5)[0], SCALING.inv_freq
    compiled = torch.compile(with_frequencies, fullgraph=True, backend="aot_eager")
    wrong = inv_freq.clone()
    wrong[3] = torch.inf
    for frequencies, factor in ((wrong, 1.0), (inv_freq, torch.tensor(-1.0))):
        with pytest.raises(rk.RopeScaleValueError):
            with_frequencies(q, frequencies, factor)
        out = compiled(q, frequencies, factor)
        assert out[..., :16].isnan().all()
        assert torch.equal(out[..., 16:], q[..., 16:])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda q: rk.RotaryTable.from_inv_freq(q.double()),
            "inv_freq: expected float32 in a graph",
        ),
        (lambda q: rk.RotaryTable(SCALING), "RotaryTable: expected to be built outside"),
        (
            lambda q: rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4),
            "RopeScaling: expected to be built outside",
        ),
    ],
)
def test_what_no_graph_can_build_is_refused_by_name(build: Any, words: str) -> None:
    inv_freq = SCALING.inv_freq
    with pytest.raises(RuntimeError, match=words):
        torch.compile(build, fullgraph=True, backend="eager")(inv_freq)
    # Without fullgraph, the call runs outside the graph.
    assert isinstance(
        torch.compile(build, backend="eager")(inv_freq), (rk.RotaryTable, rk.RopeScaling)
    )


def test_checkpointing_gives_identical_bits() -> None:
    def block(q: Tensor, k: Tensor) -> Tensor:
        q_out, k_out = rk.apply_rotary_qk(q, k, torch.arange(5), TABLE)
        assert k_out is not None
        return (q_out * k_out).sum()

    def checkpointed(q: Tensor, k: Tensor) -> Any:
        return checkpoint(block, q, k, use_reentrant=False)

    grads = []
    for run in (block, checkpointed, torch.compile(checkpointed, fullgraph=True)):
        q, k = (x.requires_grad_() for x in qk(5)[:2])
        grads.append(torch.autograd.grad(run(q, k), [q, k]))
    same(grads[1], grads[0])
    for x, y in zip(grads[2], grads[0], strict=True):
        # The compiler adds in another order.
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_a_module_is_compiled_and_autocast_changes_nothing() -> None:
    rotary = rk.RotaryEmbedding(SCALING)
    q, k, at = qk(5)
    compiled = torch.compile(rotary, fullgraph=True)
    want = rotary(q, k, at)
    same(compiled(q, k, at), want)
    with torch.autocast("cpu", torch.bfloat16):
        same(rotary(q, k, at), want)
        same(compiled(q, k, at), want)
    with torch.inference_mode():
        same(compiled(q, k, at), want)


def test_errors_are_those_of_eager_mode() -> None:
    q, k, _ = qk(5)

    def call(q: Tensor, k: Tensor) -> Any:
        return rk.apply_rotary_qk(q, k, torch.arange(4), TABLE)

    with pytest.raises(rk.RopeScaleValueError, match=r"position_ids: expected shape \(2, 5\)"):
        torch.compile(call)(q, k)
