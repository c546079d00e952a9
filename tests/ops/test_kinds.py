"""An operator made of kinds alone: schema, fake, autograd, vmap and DTensor touch no shared file.

The operator writes one rotated copy of q per row of positions, adds what it read to a cache at the
slot of each token, and returns norms only if an option asks for them.
"""

# ruff: noqa: RUF009
from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import ropescale_kernels as rk
from ropescale_kernels.ops import arguments, autograd, dtensor, kinds, torch_library, vmap
from ropescale_kernels.ops.dtensor import call_on_shards
from ropescale_kernels.ops.kinds import Call, Kind, Output, argument, operator, schema_of
from ropescale_kernels.ops.torch_library import call_operator, register

B, S, N, D, R = 2, 3, 2, 4, 5
Q = torch.randn(B, S, N, D, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@operator
@dataclass(slots=True)
class CopiesSpec(Call):
    NAMESPACE: ClassVar[str] = "ropescale_test"
    NAME: ClassVar[str] = "copies"
    OUTPUTS: ClassVar[tuple[Output, ...]] = (
        Output("q", lead="position_ids"),
        Output("q", option="with_norms"),
    )

    q: Tensor = argument(Kind.HEADS)
    position_ids: Tensor = argument(Kind.TOKENS, lead="copies")
    slot_ids: Tensor = argument(Kind.TOKENS, schema_name="slots")
    cache: Tensor = argument(Kind.BUFFER, written=True)
    with_norms: bool = argument(Kind.FLAG)
    scale: int = argument(Kind.NUMBER, default=1)


def per_token(x: Tensor) -> Tensor:
    return x[..., None, None]


def kernel(call: CopiesSpec) -> tuple[Tensor, Tensor | None]:
    """Multiply by the position: linear in q, as a rotation is."""
    call.cache.index_copy_(0, call.slot_ids.flatten(), call.q.flatten(0, -3))
    copies = call.q * per_token(call.position_ids) * call.scale
    return copies, call.q * 2 if call.with_norms else None


def gradients(values: dict[str, Any], grads: Sequence[Tensor | None]) -> dict[str, Tensor | None]:
    of_copies, of_norms = grads
    total = None
    if of_copies is not None:
        total = (of_copies * per_token(values["position_ids"]) * values["scale"]).sum(0)
    if of_norms is not None:
        total = 2 * of_norms if total is None else total + 2 * of_norms
    return {"q": total}


register(CopiesSpec, kernel, gradients=gradients)
COPIES = torch.ops.ropescale_test.copies.default


def cache(num_slots: int = 64) -> Tensor:
    """Rows that are strided and channels that are not innermost."""
    return torch.full((D, N, 2 * num_slots), -1.0).permute(2, 1, 0)[::2]


def call(**changes: Any) -> CopiesSpec:
    fields: dict[str, Any] = {
        "q": Q,
        "position_ids": torch.arange(1, R * B * S + 1).view(R, B, S),
        "slot_ids": torch.arange(B * S).flip(0).view(B, S),
        "cache": cache(),
        "with_norms": False,
    }
    return CopiesSpec(**(fields | changes))


def copies(**changes: Any) -> tuple[Tensor | None, ...]:
    return call_operator(CopiesSpec, call(**changes))


def test_the_schema_follows_from_the_kinds() -> None:
    assert str(COPIES._schema) == (
        "ropescale_test::copies(Tensor q, Tensor position_ids, Tensor slots, "
        "Tensor(a!) cache, bool with_norms, int scale=1) -> Tensor[]"
    )
    assert schema_of(CopiesSpec) in str(COPIES._schema)


@pytest.mark.parametrize("with_norms", [False, True])
def test_the_results_and_the_written_buffer(with_norms: bool) -> None:
    spec = call(with_norms=with_norms)
    results = call_operator(CopiesSpec, spec)
    assert torch.equal(results[0], spec.q * per_token(spec.position_ids))
    assert (results[1] is None) is not with_norms
    assert torch.equal(spec.cache[spec.slot_ids], spec.q)
    assert bool((spec.cache[B * S :] == -1).all())


def test_an_argument_at_its_default_is_bound_by_name() -> None:
    spec = call()
    tensors = spec.q, spec.position_ids, spec.slot_ids, spec.cache
    (without,) = COPIES(*tensors, False)
    (by_name,) = COPIES(
        *tensors[:2], slots=spec.slot_ids, cache=spec.cache, with_norms=False, scale=3
    )
    assert torch.equal(by_name, 3 * without)


@pytest.mark.parametrize("with_norms", [False, True])
def test_results_without_data_have_the_shapes_of_results(with_norms: bool) -> None:
    spec = call(with_norms=with_norms, q=call().q.transpose(1, 2).contiguous().transpose(1, 2))
    want = [x for x in call_operator(CopiesSpec, spec) if x is not None]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = [mode.from_tensor(getattr(spec, name)) for name in CopiesSpec.INPUTS]
        got = COPIES(*fakes, with_norms)
    assert [x.shape for x in got] == [x.shape for x in want]
    assert [x.dtype for x in got] == [x.dtype for x in want]
    meta = [x.to("meta") for x in (spec.q, spec.position_ids, spec.slot_ids, spec.cache)]
    assert len(COPIES(*meta, with_norms)) == 1 + with_norms


@pytest.mark.parametrize("with_norms", [False, True])
def test_gradients(with_norms: bool) -> None:
    q = call().q.double().requires_grad_()
    buffer = cache().double()

    def results(q: Tensor) -> tuple[Tensor, ...]:
        found = copies(q=q, with_norms=with_norms, cache=buffer, scale=2)
        return tuple(x for x in found if x is not None)

    assert torch.autograd.gradcheck(results, (q,))
    (grad,) = torch.autograd.grad([x.sum() for x in results(q)], q)
    want = per_token(2 * call().position_ids.double()).sum(0).expand_as(q) + 2 * with_norms
    torch.testing.assert_close(grad, want)


def test_gradients_by_torch_func() -> None:
    spec = call()

    def loss(q: Tensor) -> Tensor:
        first = call_operator(CopiesSpec, call(q=q, cache=spec.cache))[0]
        assert first is not None
        return first.sum()

    want = per_token(spec.position_ids.float()).sum(0).expand_as(spec.q)
    assert torch.equal(torch.func.grad(loss)(spec.q), want)


def test_only_operators_with_results_have_gradients() -> None:
    import ropescale_kernels.operators  # noqa: F401

    def has_gradients(name: str) -> bool:
        return torch._C._dispatch_has_kernel_for_dispatch_key(name, "Autograd")

    assert has_gradients("ropescale_test::copies")
    assert has_gradients("ropescale::rotary_qk")
    assert not has_gradients("ropescale::rotary_qk_")


@pytest.mark.parametrize("with_norms", [False, True])
@pytest.mark.parametrize("token_dims", [1, 2])
def test_a_mapped_call_is_a_loop(token_dims: int, with_norms: bool) -> None:
    mapped, tokens = 4, (B, S)[2 - token_dims :]
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(mapped, *tokens, N, D, generator=generator)
    positions = torch.randint(1, 9, (R, mapped, *tokens), generator=generator)
    slots = torch.arange(q.shape[:-2].numel()).view(mapped, *tokens)
    buffer, loop_buffer = cache(), cache()

    def one(q: Tensor, positions: Tensor, slots: Tensor, cache: Tensor) -> tuple[Tensor, ...]:
        found = copies(
            q=q, position_ids=positions, slot_ids=slots, cache=cache, with_norms=with_norms
        )
        return tuple(x for x in found if x is not None)

    got = torch.vmap(one, in_dims=(0, 1, 0, None))(q, positions, slots, buffer)
    for i in range(mapped):
        want = one(q[i], positions[:, i], slots[i], loop_buffer)
        for x, y in zip(got, want, strict=True):
            assert torch.equal(x[i], y)
    assert torch.equal(buffer, loop_buffer)
    with pytest.raises(rk.RopeScaleUnsupportedError, match="cache: expected one buffer"):
        torch.vmap(one, in_dims=(0, 1, 0, 0))(q, positions, slots, torch.stack([buffer] * mapped))


SHARDS = """
import sys
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from test_kinds import call, cache, copies_of_shards, copies
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
spec = call()
want = copies(with_norms=True, scale=2)
for place in (Shard(0), Shard(1), Shard(2), Replicate()):
    q = distribute_tensor(spec.q, mesh, [place])
    positions = distribute_tensor(spec.position_ids, mesh, [Replicate()])
    got = copies_of_shards(
        q=q, position_ids=positions, slot_ids=spec.slot_ids, cache=cache(), with_norms=True, scale=2
    )
    lead = Shard(place.dim + 1) if isinstance(place, Shard) else place
    alone = copies_of_shards(
        q=q, position_ids=positions, slot_ids=spec.slot_ids, cache=cache(), with_norms=False
    )
    assert alone[1] is None
    assert got[0].placements == (lead,), got[0].placements
    assert got[1].placements == (place,), got[1].placements
    assert all(torch.equal(x.full_tensor(), y) for x, y in zip(got, want, strict=True))
    try:
        whole = distribute_tensor(cache(), mesh, [Replicate()])
        copies_of_shards(
            q=q, position_ids=positions, slot_ids=spec.slot_ids, cache=whole, with_norms=True
        )
    except Exception as error:
        assert "cache: expected this rank's own buffer" in str(error), error
    else:
        raise AssertionError("a DTensor was taken as a buffer")
dist.destroy_process_group()
print("sharded")
"""


def copies_of_shards(**arguments: Any) -> Any:
    """Call the operator by name, on DTensors as on plain tensors."""
    from torch.distributed.tensor import DTensor

    if isinstance(arguments["q"], DTensor):
        return call_on_shards(copies_of_shards, CopiesSpec, **arguments)
    return call_operator(CopiesSpec, CopiesSpec(**arguments))


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch has no gloo",
)
def test_shards_of_dtensors(tmp_path: Path) -> None:
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHARDS, str(tmp_path / "store")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("sharded\n")


def words_of(module: Any) -> set[str]:
    """Strings and names of attributes in a module, docstrings aside."""
    tree = ast.parse(inspect.getsource(module))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            found.add(node.value)
    return found


def test_the_shared_files_name_no_operator() -> None:
    """Errors speak of q, k and table, and `impl` is a function of torch.library."""
    specs = [
        x
        for x in vars(arguments).values()
        if isinstance(x, type) and issubclass(x, Call) and x is not Call
    ]
    operators = {x.NAME for x in specs}
    assert len(operators) == 4
    fields = {name for x in specs for name in x.ARGUMENTS} - {"q", "k", "table", "impl"}
    for module in (autograd, dtensor, kinds, torch_library, vmap):
        found = words_of(module)
        assert found & {"HEADS", "PLAN"}
        assert not found & (operators | fields), module.__name__


def test_gradients_of_a_table_that_would_drop_an_argument_are_refused() -> None:
    @operator
    @dataclass(slots=True)
    class WithOptionSpec(arguments.RotaryQKSpec):
        NAME: ClassVar[str] = "with_option"
        option: bool = argument(Kind.FLAG, default=False)

    with pytest.raises(AssertionError, match=r"lacks \['option'\] of with_option"):
        autograd.Formula(WithOptionSpec, None, arguments.RotaryQKScalingGradSpec)


def test_an_operator_that_writes_needs_gradients_of_its_own() -> None:
    @operator
    @dataclass(slots=True)
    class TurnsSpec(Call):
        NAME: ClassVar[str] = "turns"
        OUTPUTS: ClassVar[tuple[Output, ...]] = (Output("q"),)

        q: Tensor = argument(Kind.HEADS)
        cache: Tensor = argument(Kind.BUFFER, written=True)
        flip: bool = argument(Kind.FLAG, is_adjoint=True)

    with pytest.raises(
        AssertionError, match="turns: an operator that writes or reads a buffer needs"
    ):
        autograd.Formula(TurnsSpec, None, None)
    assert autograd.Formula(TurnsSpec, gradients, None).is_differentiable
    # Registration alone shows a formula to torch.func.
    assert TurnsSpec not in autograd._FUNCTIONS
    assert CopiesSpec in autograd._FUNCTIONS


def test_a_field_that_is_no_argument_is_keyword_only() -> None:
    with pytest.raises(AssertionError, match="halves: a field that is no argument"):

        @operator
        @dataclass(slots=True)
        class HalvesSpec(Call):
            NAME: ClassVar[str] = "halves"

            q: Tensor = argument(Kind.HEADS)
            q_out: Tensor | None = None
