"""Gradients of inv_freq and attention_factor under nested transforms of torch.func."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import ropescale_kernels as rk
from tools.contract.draws import draw

pytestmark = [
    # Under forward-mode AD torch operations replace the kernels.
    pytest.mark.filterwarnings("ignore::ropescale_kernels.RopeScaleWarning"),
    # torch.func imports code that torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

INV_FREQ = torch.linspace(0.05, 1.0, 4)
FACTOR = torch.tensor(1.25)
P = torch.arange(6)
Q = draw(6, 2, 8, seed=0)
ONE = torch.tensor(1.0)


def rotated(q: Tensor, inv_freq: Tensor, factor: Tensor) -> Tensor:
    return rk.apply_rotary_qk(q, None, P, rk.RotaryTable.from_inv_freq(inv_freq, factor))[0]


def in_float64(q: Tensor, inv_freq: Tensor, factor: Tensor) -> Tensor:
    """Return the same rotation in torch operations, which torch.func sees through."""
    angle = P.double()[:, None, None] * inv_freq.double()
    cos, sin = factor.double() * angle.cos(), factor.double() * angle.sin()
    first, second = q.double().chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


Rotation = Callable[[Tensor, Tensor, Tensor], Tensor]


def through_q(rotate: Rotation, inv_freq: Tensor, factor: Tensor) -> Tensor:
    def inner(scale: Tensor) -> Tensor:
        return rotate(Q * scale, inv_freq, factor).pow(3).sum()

    return torch.func.grad(inner)(ONE)


def past_q(rotate: Rotation, inv_freq: Tensor, factor: Tensor) -> Tensor:
    def inner(scale: Tensor) -> Tensor:
        return rotate(Q, inv_freq, factor).pow(3).sum() * scale

    return torch.func.grad(inner)(ONE)


def two_deep(rotate: Rotation, inv_freq: Tensor, factor: Tensor) -> Tensor:
    return torch.func.grad(lambda scale: scale**2 * through_q(rotate, inv_freq, factor))(ONE)


@pytest.mark.parametrize("nested", [through_q, past_q, two_deep])
def test_a_table_built_inside_an_inner_grad_keeps_the_gradients_of_the_outer(
    nested: Callable[[Rotation, Tensor, Tensor], Tensor],
) -> None:
    got, want = (
        torch.func.grad(lambda f, a, by=by: nested(by, f, a), argnums=(0, 1))(INV_FREQ, FACTOR)
        for by in (rotated, in_float64)
    )
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-4)
        # The control: a dropped leaf gave zeros.
        assert float(y.abs().max()) > 1


def test_a_leaf_of_autograd_is_seen_through_an_inner_grad() -> None:
    inv_freq, factor = INV_FREQ.clone().requires_grad_(), FACTOR.clone().requires_grad_()
    got = torch.autograd.grad(through_q(rotated, inv_freq, factor), [inv_freq, factor])
    want = torch.autograd.grad(through_q(in_float64, inv_freq, factor), [inv_freq, factor])
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-4)


def test_constants_inside_transforms_are_no_leaves() -> None:
    def sources(scale: Tensor) -> Tensor:
        table = rk.RotaryTable.from_inv_freq(INV_FREQ * 1, FACTOR * 1)
        assert table.sources == (None, None)
        return scale

    torch.func.grad(torch.func.grad(sources))(ONE)
    torch.func.jvp(torch.func.grad(sources), (ONE,), (ONE,))
    torch.func.grad(lambda x: torch.func.jvp(sources, (x,), (ONE,))[0])(ONE)


def plain(inv_freq: Tensor, factor: Tensor) -> Tensor:
    return rotated(Q, inv_freq, factor).sum()


def inside_a_grad(inv_freq: Tensor, factor: Tensor) -> Tensor:
    return past_q(rotated, inv_freq, factor)


def inside_two_grads(inv_freq: Tensor, factor: Tensor) -> Tensor:
    return two_deep(rotated, inv_freq, factor)


@pytest.mark.parametrize("of", [plain, inside_a_grad, inside_two_grads])
@pytest.mark.parametrize("name", ["inv_freq", "attention_factor"])
def test_a_tangent_of_a_table_is_refused(of: Callable[[Tensor, Tensor], Tensor], name: str) -> None:
    def function(x: Tensor) -> Tensor:
        return of(x, FACTOR) if name == "inv_freq" else of(INV_FREQ, x)

    x = INV_FREQ if name == "inv_freq" else FACTOR
    message = f"{name}: expected a constant tensor under forward-mode AD, got one with a tangent"
    with pytest.raises(rk.RopeScaleUnsupportedError, match=message):
        torch.func.jvp(function, (x,), (torch.ones_like(x),))
    with (
        forward_ad.dual_level(),
        pytest.raises(rk.RopeScaleUnsupportedError, match=message),
    ):
        function(forward_ad.make_dual(x, torch.ones_like(x)))
    with pytest.raises(rk.RopeScaleUnsupportedError, match=name):
        torch.func.hessian(function)(x)


def test_a_leaf_inside_forward_mode_is_refused() -> None:
    def of_inv_freq(inv_freq: Tensor) -> Tensor:
        def inner(scale: Tensor) -> Tensor:
            return rotated(Q * scale, inv_freq, FACTOR).sum()

        return torch.func.jvp(inner, (ONE,), (ONE,))[1]

    of_inv_freq(INV_FREQ)
    with pytest.raises(rk.RopeScaleUnsupportedError, match=r"inv_freq: .*got one that requires"):
        torch.func.grad(of_inv_freq)(INV_FREQ)


def test_a_table_with_leaves_is_refused_under_forward_mode() -> None:
    leaf = INV_FREQ.clone().requires_grad_()
    table = rk.RotaryTable.from_inv_freq(leaf)
    plain_table = rk.RotaryTable.from_inv_freq(INV_FREQ)

    def rotate(q: Tensor, table: rk.RotaryTable) -> Tensor:
        return rk.apply_rotary_qk(q, None, torch.arange(len(q)), table)[0]

    ones = torch.ones_like(Q)
    _, tangent = torch.func.jvp(lambda q: rotate(q, plain_table), (Q,), (ones,))
    with pytest.raises(rk.RopeScaleUnsupportedError, match="table: expected a table without"):
        torch.func.jvp(lambda q: rotate(q, table), (Q,), (ones,))
    with torch.no_grad():
        _, same = torch.func.jvp(lambda q: rotate(q, table), (Q,), (ones,))
    assert torch.equal(same, tangent)
