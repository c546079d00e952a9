"""Tracers and modes of torch: each records the operator, so that its graph rotates other inputs.

A call that went straight to a kernel would leave a graph without the rotation. The controls blind
the package to tracers and modes, and find such graphs.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from functorch.compile import aot_function, nop
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import ropescale_kernels as rk
import ropescale_kernels.operators
from ropescale_kernels.backends import compiled
from tests.support.bits import differing
from tests.support.blind import blinded
from tools.contract.draws import draw, yarn

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec:FutureWarning"),
]

TABLE = rk.RotaryTable(yarn(16))
Rotate = Callable[[Tensor, Tensor, Tensor], Any]
Inputs = tuple[Tensor, Tensor, Tensor]


def out_of_place(q: Tensor, k: Tensor, at: Tensor) -> Any:
    return rk.apply_rotary_qk(q, k, at, TABLE)


def in_place(q: Tensor, k: Tensor, at: Tensor) -> Any:
    q, k = q.clone(), k.clone()
    rk.apply_rotary_qk_(q, k, at, TABLE)
    return q, k


def given_rows(q: Tensor, k: Tensor, rows: Tensor) -> Any:
    return rk.apply_rotary_cos_sin(q, k, rows[0], rows[1], rotary_dim=16)


CALLS: list[Rotate] = [out_of_place, in_place, given_rows]
OPERATORS = {out_of_place: "rotary_qk", in_place: "rotary_qk_", given_rows: "rotary_cos_sin"}


def inputs(rotate: Rotate, seed: int, seqlen: int = 5) -> Inputs:
    q, k = draw(2, seqlen, 3, 20, seed=seed), draw(2, seqlen, 1, 20, seed=seed + 1)
    if rotate is given_rows:
        return q, k, draw(2, 2, seqlen, 8, seed=seed + 2)
    generator = torch.Generator().manual_seed(seed)
    return q, k, torch.randint(0, 100_000, (2, seqlen), generator=generator)


def same(got: Any, want: Any) -> bool:
    return all(differing(x, y) == 0 for x, y in zip(got, want, strict=True))


def exported(rotate: Rotate, example: Inputs, *, strict: bool) -> Any:
    class Model(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, at: Tensor) -> Any:
            return rotate(q, k, at)

    return torch.export.export(Model(), example, strict=strict).module()


TRACERS: dict[str, Callable[[Rotate, Inputs], Any]] = {
    "jit.trace": torch.jit.trace,
    "make_fx real": lambda rotate, example: make_fx(rotate)(*example),
    "make_fx fake": lambda rotate, example: make_fx(rotate, tracing_mode="fake")(*example),
    "make_fx symbolic": lambda rotate, example: make_fx(rotate, tracing_mode="symbolic")(*example),
    "make_fx pre-dispatch": lambda rotate, example: make_fx(rotate, pre_dispatch=True)(*example),
    "fx.symbolic_trace": lambda rotate, example: torch.fx.symbolic_trace(rotate),
    "export": lambda rotate, example: exported(rotate, example, strict=False),
    "export strict": lambda rotate, example: exported(rotate, example, strict=True),
    "functionalize": lambda rotate, example: torch.func.functionalize(rotate),
    "make_fx functionalize": lambda rotate, example: make_fx(torch.func.functionalize(rotate))(
        *example
    ),
    "aot_function": lambda rotate, example: aot_function(rotate, nop),
    "compile": lambda rotate, example: torch.compile(rotate, fullgraph=True, backend="aot_eager"),
}
# Tracers whose inputs are plain tensors, so that only the state of torch tells that they trace.
OF_PLAIN_TENSORS = ["jit.trace", "make_fx real", "make_fx pre-dispatch"]
# Tracers whose graphs know no lengths.
OF_ANY_LENGTH = ["jit.trace", "make_fx symbolic", "fx.symbolic_trace"]


@pytest.mark.parametrize("rotate", CALLS)
@pytest.mark.parametrize("tracer", TRACERS)
def test_a_graph_rotates_other_inputs(tracer: str, rotate: Rotate) -> None:
    other = inputs(rotate, seed=7, seqlen=9 if tracer in OF_ANY_LENGTH else 5)
    with torch.no_grad():
        want = rotate(*other)
        graph = TRACERS[tracer](rotate, inputs(rotate, seed=0))
        graph(*inputs(rotate, seed=0))
        got = graph(*other)
        unrotated = TRACERS[tracer](lambda q, k, at: (q.clone(), k.clone()), other)(*other)
    assert same(got, want)
    assert not same(unrotated, want)


@pytest.mark.parametrize("rotate", CALLS)
@pytest.mark.parametrize("tracer", OF_PLAIN_TENSORS)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_short_call_would_lose_the_rotation(tracer: str, rotate: Rotate) -> None:
    other = inputs(rotate, seed=7)
    with torch.no_grad(), blinded():
        graph = TRACERS[tracer](rotate, inputs(rotate, seed=0))
        assert not same(graph(*other), rotate(*other))


def cos_sin(*shape: int, seed: int) -> tuple[Tensor, Tensor]:
    angle = draw(*shape, seed=seed)
    return angle.cos(), angle.sin()


PROFILES = rk.RotaryTable(
    [rk.RopeScaling.linear(rotary_dim=16, rope_theta=1e4, factor=s) for s in (1.0, 2.0)]
)
# Calls of which the package passes a view of an argument on, and the inputs besides q.
VIEWS: dict[str, tuple[Callable[..., Tensor], Callable[[int], tuple[Tensor, ...]]]] = {
    "every second value": (
        lambda q, c, s: rk.apply_rotary_cos_sin(q, None, c, s, rows="repeated", interleaved=True)[
            0
        ],
        lambda seed: cos_sin(2, 5, 16, seed=seed),
    ),
    "an axis for heads": (
        lambda q, c, s: rk.apply_rotary_cos_sin(q, None, c, s, rows="half")[0],
        lambda seed: cos_sin(2, 1, 5, 8, seed=seed),
    ),
    "axes of M-RoPE": (
        lambda q, c, s: rk.apply_rotary_cos_sin(
            q, None, c, s, rows="half", mrope_section=[4, 2, 2]
        )[0],
        lambda seed: cos_sin(3, 5, 8, seed=seed),
    ),
    "profiles of a row": (
        lambda q, at, ids: rk.apply_rotary_qk(q, None, at, PROFILES, profile_ids=ids)[0],
        lambda seed: (
            torch.arange(5) + seed,
            (torch.arange(5) * (seed + 1) % 2).to(torch.int32),
        ),
    ),
}


@pytest.mark.parametrize("tracer", ["jit.trace", "make_fx real", "export"])
@pytest.mark.parametrize("name", VIEWS)
def test_views_of_arguments_are_recorded(name: str, tracer: str) -> None:
    call, rest = VIEWS[name]

    def example(seed: int) -> tuple[Tensor, ...]:
        return (draw(2, 5, 3, 16, seed=seed), *rest(seed))

    with torch.no_grad():
        graph = TRACERS[tracer](lambda *x: (call(*x),), example(0))
        (got,), want = graph(*example(8)), call(*example(8))
        # A graph that held the first values of the arguments besides q would give this.
        stale = call(example(8)[0], *rest(0))
    assert differing(got, want) == 0
    assert differing(stale, want) > 0


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function.namespace == "ropescale":
            self.seen.append(function.__name__)
        return function(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self, replaced: Any = None) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.replaced = replaced

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.seen.append(function)
        return self.replaced or function(*args, **(kwargs or {}))


@pytest.mark.parametrize("rotate", CALLS)
def test_a_dispatch_mode_sees_the_operator(rotate: Rotate) -> None:
    given = inputs(rotate, seed=0)
    want = rotate(*given)
    with Operators() as mode:
        assert same(rotate(*given), want)
    assert mode.seen == [f"{OPERATORS[rotate]}.default"]


@pytest.mark.parametrize("rotate", CALLS)
def test_a_dispatch_mode_would_not_see_a_short_call(rotate: Rotate) -> None:
    with blinded(), Operators() as mode:
        rotate(*inputs(rotate, seed=0))
    assert mode.seen == []


def test_a_function_mode_sees_the_call_and_may_replace_it() -> None:
    (q, k, at), (*_, rows) = inputs(out_of_place, seed=0), inputs(given_rows, seed=0)
    want = rk.apply_rotary_qk(q, k, at, TABLE)
    with Functions() as mode:
        assert same(rk.apply_rotary_qk(q, k, at, TABLE), want)
        rk.apply_rotary_qk_(q, k, at, TABLE)
        rk.apply_rotary_cos_sin(q, k, rows[0], rows[1], rotary_dim=16)
    seen = [x for x in mode.seen if getattr(x, "__name__", "").startswith("apply_")]
    assert seen == [rk.apply_rotary_qk, rk.apply_rotary_qk_, rk.apply_rotary_cos_sin]
    assert same((q, k), want)
    with Functions(replaced=(k, q)):
        assert rk.apply_rotary_qk(q, k, at, TABLE) == (k, q)


def short_call_serves() -> bool:
    q, k, at = inputs(out_of_place, seed=0)
    served = compiled.fast_rotary_qk(q, k, at, TABLE, False, False, "exact", None)
    return served is not None


def test_the_short_call_serves_nobody_who_records() -> None:
    assert short_call_serves()
    for ordinary in (
        torch.device("cpu"),
        torch.autocast("cpu"),
        torch.no_grad(),
        torch.inference_mode(),
        torch.profiler.record_function("step"),
    ):
        with ordinary:
            assert short_call_serves()
    for recording in (Operators(), Functions(), torch.autograd.forward_ad.dual_level()):
        with recording:
            assert not short_call_serves()
        with torch.device("cpu"), recording:
            assert not short_call_serves()
    served: list[bool] = []

    def traced(x: Tensor) -> Tensor:
        served.append(short_call_serves())
        return x + 1

    torch.jit.trace(traced, torch.ones(1), check_trace=False)
    make_fx(traced)(torch.ones(1))
    make_fx(traced, pre_dispatch=True)(torch.ones(1))
    assert not any(served)


def test_pre_dispatch_modes_are_seen_without_their_function_mode() -> None:
    """Inside the handler of a function mode, the mode itself is not entered."""
    rotate = out_of_place
    seen: list[bool] = []

    def traced(q: Tensor, k: Tensor, at: Tensor) -> Any:
        with torch._C.DisableTorchFunction():
            seen.append(torch._C._is_torch_function_mode_enabled())
            return rotate(q, k, at)

    other = inputs(rotate, seed=7)
    with torch.no_grad():
        graph = make_fx(traced, pre_dispatch=True)(*inputs(rotate, seed=0))
        assert same(graph(*other), rotate(*other))
    assert not any(seen)


@pytest.mark.parametrize("impl", ["auto", "cpu"])
@pytest.mark.parametrize("rotate", CALLS)
def test_a_profile_names_the_operator(rotate: Rotate, impl: str, monkeypatch: Any) -> None:
    if impl != "auto":
        monkeypatch.setenv("ROPESCALE_IMPL", impl)
    given = inputs(rotate, seed=0)
    with torch.no_grad(), torch.autograd.profiler.profile() as profile:
        rotate(*given)
    names = [event.name for event in profile.function_events]
    assert names.count(f"ropescale::{OPERATORS[rotate]}") == 1


def test_torch_script_refuses_the_functions_and_takes_the_operators() -> None:
    for rotate in CALLS:
        with pytest.raises(torch.jit.frontend.NotSupportedError, match="keyword-only arguments"):
            torch.jit.script(rotate)

    class Scripted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps, self.inv_freq, self.factors = TABLE.state[:3]

        def forward(self, q: Tensor, k: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
            table = self.steps, self.inv_freq, self.factors
            none = None
            # fmt: off
            return torch.ops.ropescale.rotary_qk(
                q, k, at, none, table[0], table[1], table[2], none, none, none, none, none, none,
                False, False, False, "auto",
            )
            # fmt: on

    other = inputs(out_of_place, seed=7)
    assert same(torch.jit.script(Scripted())(*other), out_of_place(*other))


@pytest.mark.parametrize("rotate", CALLS)
def test_a_trace_is_saved_frozen_and_deployed(rotate: Rotate) -> None:
    class Model(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, at: Tensor) -> Any:
            return rotate(q, k, at)

    other = inputs(rotate, seed=7)
    want = rotate(*other)
    with torch.inference_mode():
        traced = torch.jit.trace(Model().eval(), inputs(rotate, seed=0))
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    with torch.inference_mode():
        assert same(rotate(*other), want)
        assert same(torch.jit.load(file)(*other), want)
        assert same(torch.jit.optimize_for_inference(torch.jit.freeze(traced))(*other), want)
        assert same(exported(rotate, inputs(rotate, seed=0), strict=False)(*other), want)


def test_a_symbolic_graph_of_a_model() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rotary = rk.RotaryEmbedding(yarn(16))

        # torch.fx pickles no annotations that are strings.
        def forward(self, q, k, at):  # type: ignore[no-untyped-def]
            q, k = self.rotary(q, k, at)
            rk.apply_rotary_qk_(q, None, at, TABLE)
            return q * 2, k

    model, other = Model(), inputs(out_of_place, seed=7)
    graph = torch.fx.symbolic_trace(model)
    targets = [node.target for node in graph.graph.nodes if node.op == "get_attr"]
    assert targets == ["rotary.table", "_rotary_table0"]
    # Nothing uses the result of a call in place.
    graph.graph.eliminate_dead_code()
    graph.recompile()
    want = model(*other)
    assert same(graph(*other), want)
    assert same(copy.deepcopy(graph)(*other), want)
    assert same(pickle.loads(pickle.dumps(graph))(*other), want)
