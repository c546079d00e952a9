"""Gradients, transforms, and every way a tensor can be more than its memory."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import ropescale_kernels as rk
from tools.contract.draws import draw, yarn

SCALING = yarn(64)
TABLE = rk.RotaryTable(SCALING)
P = torch.arange(5) * 1009

pytestmark = [
    # A call that reaches torch operations says so once in a process.
    pytest.mark.filterwarnings("ignore::ropescale_kernels.RopeScaleWarning"),
    # torch.func and torch.compile import code that torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def rotated(q: Tensor, **options: Any) -> Tensor:
    return rk.apply_rotary_qk(q, None, P, TABLE, **options)[0]


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=2e-6)


def test_expanded_and_strided_upstream_gradients() -> None:
    q, ones = draw(5, 3, 64).requires_grad_(), torch.ones(5, 3, 64)
    want = rotated(ones, conjugate=True)
    (grad,) = torch.autograd.grad(rotated(q).sum(), q)
    assert torch.equal(grad, want)
    upstream = torch.ones(64, 3, 5).permute(2, 1, 0)
    (grad,) = torch.autograd.grad(rotated(q), q, upstream)
    assert torch.equal(grad, want)


@pytest.mark.parametrize("which", ["q", "k"])
def test_only_one_requires_grad(which: str) -> None:
    table = rk.RotaryTable(SCALING, magnitude="query")
    q, k = draw(5, 3, 64), draw(5, 1, 64, seed=1)
    x = {"q": q, "k": k}[which].requires_grad_()
    outputs = rk.apply_rotary_qk(q, k, P, table)
    assert outputs[1] is not None
    (grad,) = torch.autograd.grad(outputs[0].sum() + outputs[1].sum(), x)
    with torch.no_grad():
        want = rk.apply_rotary_qk(torch.ones_like(q), torch.ones_like(k), P, table, conjugate=True)
    got = {"q": want[0], "k": want[1]}[which]
    assert got is not None
    assert torch.equal(grad, got)
    # One output alone, too.
    (alone,) = torch.autograd.grad(
        rk.apply_rotary_qk(q, k, P, table)[0 if which == "q" else 1].sum(), x
    )
    assert torch.equal(alone, got)


def test_double_backward_is_the_rotation_again() -> None:
    q, upstream = draw(5, 3, 64).requires_grad_(), draw(5, 3, 64, seed=1).requires_grad_()
    (grad,) = torch.autograd.grad(rotated(q), q, upstream, create_graph=True)
    probe = draw(5, 3, 64, seed=2)
    (again,) = torch.autograd.grad(grad, upstream, probe)
    assert torch.equal(again, rotated(probe))


def test_checkpointing_gives_identical_bits() -> None:
    q = draw(5, 3, 64).requires_grad_()
    grads = []
    for run in (rotated, lambda x: checkpoint(rotated, x, use_reentrant=False)):
        (grad,) = torch.autograd.grad(run(q).square().sum(), q)
        grads.append(grad)
    assert torch.equal(*grads)


def test_cos_sin_gradient() -> None:
    q = draw(5, 3, 64).requires_grad_()
    angle = draw(5, 32)
    rows = angle.cos(), angle.sin()

    def by_rows(q: Tensor, **options: Any) -> Tensor:
        return rk.apply_rotary_cos_sin(q, None, *rows, rows="half", **options)[0]

    (grad,) = torch.autograd.grad(by_rows(q).sum(), q)
    assert torch.equal(grad, by_rows(torch.ones(5, 3, 64), conjugate=True))


def test_in_place_under_grad() -> None:
    leaf = draw(5, 3, 64).requires_grad_()
    before = leaf.detach().clone()
    with pytest.raises(rk.RopeScaleRuntimeError, match="q: expected no leaf that requires grad"):
        rk.apply_rotary_qk_(leaf, None, P, TABLE)
    assert torch.equal(leaf.detach(), before)
    inner = leaf * 1
    rk.apply_rotary_qk_(inner, None, P, TABLE)
    assert torch.equal(inner, rotated(before))
    (grad,) = torch.autograd.grad(inner.sum(), leaf)
    assert torch.equal(grad, rotated(torch.ones(5, 3, 64), conjugate=True))
    with pytest.raises(rk.RopeScaleRuntimeError, match="out: expected no tensor that requires"):
        rk.apply_rotary_qk(leaf, None, P, TABLE, out=torch.empty(5, 3, 64))


@pytest.mark.parametrize("way", ["in place", "out", "update_"])
def test_autograd_sees_the_write(way: str) -> None:
    table = rk.RotaryTable(SCALING, dynamic=True)
    weight, q = draw(5, 3, 64), draw(5, 3, 64, seed=1).requires_grad_()
    product = q * weight if way != "update_" else rk.apply_rotary_qk(q, None, P, table)[0]
    if way == "in place":
        rk.apply_rotary_qk_(weight, None, P, table)
    elif way == "out":
        rk.apply_rotary_qk(draw(5, 3, 64), None, P, table, out=weight)
    else:
        table.update_(torch.tensor([100_000]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_inference_tensors_and_autocast() -> None:
    q = draw(5, 3, 64)
    with torch.inference_mode():
        mine = q.clone()
        rk.apply_rotary_qk_(mine, None, P, TABLE)
    assert torch.equal(mine, rotated(q))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rotated(q), rotated(q.clone()))
        assert rotated(q).dtype == torch.float32


def test_lazily_negated_views() -> None:
    q = draw(5, 3, 64)
    want = rotated(-q)
    assert torch.equal(rotated(torch._neg_view(q)), want)
    assert torch.equal(rotated(torch._neg_view(q), impl="cpu"), want)
    view = torch._neg_view(q)
    rk.apply_rotary_qk_(view, None, P, TABLE)
    assert torch.equal(view, want)
    with pytest.raises(rk.RopeScaleValueError, match="lazily negated"):
        rk.apply_rotary_qk(q, None, P, TABLE, out=torch._neg_view(draw(5, 3, 64)))


def test_meta_and_fake_tensors_give_shapes_without_data() -> None:
    q = draw(2, 3, 5, 64).transpose(1, 2)
    got = rk.apply_rotary_qk(q.to("meta"), None, P.to("meta"), TABLE.to("meta"))[0]
    assert got.is_meta
    assert got.stride() == torch.empty_like(q).stride()
    with FakeTensorMode():
        fake = torch.empty(5, 3, 64)
        out = rk.apply_rotary_qk(fake, None, torch.arange(5), TABLE)[0]
        assert type(out) is type(fake)
        assert out.shape == fake.shape


class Logged(Tensor):
    """A subclass that sees every call of torch."""

    seen: list[str] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(str(func))
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_subclass_goes_through_the_operator() -> None:
    q = draw(5, 3, 64)
    got = rotated(q.as_subclass(Logged))
    assert isinstance(got, Logged)
    assert Logged.seen
    close(got.as_subclass(Tensor), rotated(q))
    assert torch.equal(rotated(q.as_subclass(Logged), impl="cpu").as_subclass(Tensor), rotated(q))


def test_torch_func_transforms_and_forward_mode() -> None:
    q, tangent = draw(5, 3, 64), draw(5, 3, 64, seed=1)
    close(torch.vmap(rotated)(torch.stack([q, tangent]))[1], rotated(tangent))
    close(torch.func.jvp(rotated, (q,), (tangent,))[1], rotated(tangent))
    grad = torch.func.grad(lambda x: (rotated(x) * tangent).sum())(q)
    close(grad, rotated(tangent, conjugate=True))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(rotated(forward_ad.make_dual(q, tangent)))
        assert dual.tangent is not None
        close(dual.tangent, rotated(tangent))
        with pytest.raises(rk.RopeScaleUnsupportedError, match="q: expected plain tensors"):
            rk.apply_rotary_qk_(q, None, P, TABLE)


# The kernel call is a break in the graph, of which the compiler warns.
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace:UserWarning")
@pytest.mark.slow
def test_compiled_code_gives_the_same_values() -> None:
    def block(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        q, k = q * 2, k + 1
        rk.apply_rotary_qk_(q, k, P, TABLE)
        out = rk.apply_rotary_qk(q, k, P, TABLE)
        assert out[1] is not None
        return out[0], out[1]

    q, k = draw(5, 3, 64), draw(5, 1, 64, seed=1)
    for got, want in zip(torch.compile(block)(q, k), block(q, k), strict=True):
        close(got, want)


def test_module_and_table_travel() -> None:
    q = draw(5, 3, 64)
    module = rk.RotaryEmbedding(SCALING)
    want = module(q, None, P)[0]
    assert not module.state_dict()
    assert not list(module.parameters())
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), module.bfloat16()):
        assert torch.equal(other(q, None, P)[0], want)
    assert "yarn" in repr(module)
    assert torch.equal(pickle.loads(pickle.dumps(TABLE)).turns_per_token, TABLE.turns_per_token)
    assert module.to("meta").table.device.type == "meta"


def test_a_mode_loses_no_tangent() -> None:
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=8, rope_theta=1e4))
    q = draw(5, 2, 8)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(q, torch.ones_like(q))
        want = forward_ad.unpack_dual(rk.apply_rotary_qk(dual, None, torch.arange(5), table)[0])
        with FlopCounterMode(display=False):
            out = rk.apply_rotary_qk(dual, None, torch.arange(5), table)[0]
        assert torch.equal(forward_ad.unpack_dual(out).tangent, want.tangent)


def test_gradients_of_given_rows_are_refused_at_any_depth() -> None:
    q, angle = draw(5, 2, 8), draw(5, 4, seed=1)

    def inner(x: Tensor) -> Tensor:
        def of_q(y: Tensor) -> Tensor:
            return rk.apply_rotary_cos_sin(y, None, x.cos(), x.sin(), rows="half")[0].sum()

        return torch.func.grad(of_q)(q).sum()

    inner(angle)
    with pytest.raises(rk.RopeScaleUnsupportedError, match="cos: expected a tensor that requires"):
        torch.func.grad(inner)(angle)
