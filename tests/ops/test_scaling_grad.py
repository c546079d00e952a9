"""Gradients of inv_freq and attention_factor, against autograd in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels import bounds
from tools.contract.draws import DTYPES, draw

SCALING = rk.RopeScaling.yarn(
    rotary_dim=24, rope_theta=1e4, factor=4.0, original_max_position_embeddings=4096
)
FACTOR = 1.2
SECTIONS = (3, 5, 4)
pytestmark = pytest.mark.filterwarnings("ignore::ropescale_kernels.RopeScaleWarning")


def truth(
    x: Tensor, positions: Tensor, inv_freq: Tensor, multiplier: Tensor, **options: Any
) -> Tensor:
    """Rotate float64 x `(tokens, heads, head_dim)` by positions `(tokens, pairs)`."""
    angle = positions * inv_freq
    c, s = (multiplier * angle.cos())[:, None], (multiplier * angle.sin())[:, None]
    s = -s if options.get("conjugate") else s
    n = 2 * len(inv_freq)
    interleaved = options.get("interleaved")
    x0, x1 = (x[..., 0:n:2], x[..., 1:n:2]) if interleaved else x[..., :n].chunk(2, -1)
    y0, y1 = x0 * c - x1 * s, x1 * c + x0 * s
    rotated = torch.stack([y0, y1], -1).flatten(-2) if interleaved else torch.cat([y0, y1], -1)
    return torch.cat([rotated, x[..., n:]], -1)


def multipliers(factor: Tensor, magnitude: str) -> tuple[Tensor, Tensor]:
    one = torch.ones_like(factor)
    return {"both": (factor, factor), "query": (factor * factor, one), "none": (one, one)}[
        magnitude
    ]


def leaves() -> tuple[Tensor, Tensor]:
    return SCALING.inv_freq.requires_grad_(), torch.tensor(FACTOR, requires_grad=True)


def test_the_truth_is_the_reference_and_passes_gradcheck() -> None:
    x, at = draw(3, 2, 28, seed=0), torch.tensor([0, 7, 4097])
    inv_freq = SCALING.inv_freq.double()
    table = rk.RotaryTable.from_inv_freq(inv_freq, FACTOR)
    want = rk.reference.apply_rotary_qk(x, None, at, table, precision="float64")[0]
    factor = table.attention_factor_bits.view(torch.float32)[0, 0].double()
    got = truth(x.double(), at[:, None].double(), inv_freq, factor)
    torch.testing.assert_close(got, want.double(), rtol=0, atol=1e-11)
    for options in ({}, {"conjugate": True}, {"interleaved": True}):
        inputs = [x.double(), at[:, None] / 100, inv_freq, factor]
        for i in (0, 2, 3):
            inputs[i] = inputs[i].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda *a, o=options: truth(*a, **o), inputs)


# magnitude, options of the call, position axes.
CASES = {
    "plain": ("both", {}, False),
    "interleaved": ("both", {"interleaved": True}, False),
    "conjugate": ("both", {"conjugate": True}, False),
    "query alone": ("query", {}, False),
    "no magnitude": ("none", {}, False),
    "axes": ("both", {"conjugate": True, "interleaved": True}, True),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", [(5, 3), (1, 0), (0, 2)])
def test_gradients_are_those_of_float64(
    impl: str, case: str, dtype: torch.dtype, heads: tuple[int, int]
) -> None:
    magnitude, options, has_axes = CASES[case]
    tokens = 19
    q, k = (draw(tokens, n, 28, seed=n).to(dtype) for n in heads)
    upstream = [draw(tokens, n, 28, seed=9 + n).to(dtype) for n in heads]
    at = torch.randint(0, 5000, (3, 1, tokens), generator=torch.Generator().manual_seed(0))
    positions = at if has_axes else at[0]
    inv_freq, factor = leaves()
    table = rk.RotaryTable.from_inv_freq(
        inv_freq, factor, magnitude=magnitude, mrope_section=SECTIONS if has_axes else None
    )
    batch = [x[None].requires_grad_() for x in (q, k)]
    outputs = rk.apply_rotary_qk(
        batch[0], batch[1] if heads[1] else None, positions, table, impl=impl, **options
    )
    loss = sum(
        (out[0] * g).float().sum()
        for out, g in zip(outputs, upstream, strict=True)
        if out is not None
    )
    assert isinstance(loss, Tensor)
    loss.backward()

    axis = (
        torch.arange(3).repeat_interleave(torch.tensor(SECTIONS)) if has_axes else torch.zeros(12)
    )
    per_pair = at[axis.long(), 0].T.double()
    true_inv_freq = SCALING.inv_freq.double().requires_grad_()
    true_factor = torch.tensor(factor.item(), dtype=torch.float64, requires_grad=True)
    true_loss = torch.zeros((), dtype=torch.float64)
    most = torch.zeros(12, dtype=torch.float64)
    for x, g, m in zip((q, k), upstream, multipliers(true_factor, magnitude), strict=True):
        # A gradient of the stored type, as autograd hands it on.
        out = truth(x.double(), per_pair, true_inv_freq, m, **options)
        true_loss = true_loss + (out * g.double()).sum()
        pairs = [
            truth(
                y.double().abs(),
                per_pair * 0,
                true_inv_freq.detach(),
                m.detach() * 0 + 1,
                interleaved=options.get("interleaved"),
            )
            for y in (x, g)
        ]
        size = [
            (
                y[..., :24].unflatten(-1, (12, 2)).sum(-1)
                if options.get("interleaved")
                else sum(y[..., :24].chunk(2, -1))
            )
            for y in pairs
        ]
        most = most + (per_pair * (m.detach() * size[0] * size[1]).sum(1)).sum(0)
    true_loss.backward()
    assert inv_freq.grad is not None
    assert inv_freq.grad.dtype == torch.float32
    error = (inv_freq.grad.double() - true_inv_freq.grad).abs()  # type: ignore[operator]
    # The phase's own rounding, 4e-10 rad, is within the rotation's bound; and one last rounding.
    assert (error <= most * bounds.ROTATION_REL + 2**-24 * inv_freq.grad.abs()).all()
    if magnitude == "none":
        assert factor.grad is None
    else:
        assert factor.grad is not None
        assert true_factor.grad is not None
        torch.testing.assert_close(factor.grad.double(), true_factor.grad, rtol=2e-6, atol=2e-5)


def gradients(tokens: int, impl: str = "cpu", **options: Any) -> list[Tensor]:
    inv_freq, factor = leaves()
    table = rk.RotaryTable.from_inv_freq(inv_freq, factor)
    q, k = draw(3, tokens, 4, 24, seed=0), draw(3, tokens, 2, 24, seed=1)
    at = torch.arange(tokens)
    outputs = rk.apply_rotary_qk(q, k, at, table, impl=impl, **options)
    upstream = [draw(*x.shape, seed=2) for x in outputs if x is not None]
    return list(torch.autograd.grad(outputs, [inv_freq, factor], upstream))  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", ["exact", "float32"])
def test_neither_threads_nor_instruction_sets_change_bits(exact_impl: str, phase: str) -> None:
    # A team of threads starts from hundreds of tokens on. The interpreter is slow, and has fifteen
    # blocks of tokens to sum over.
    tokens = 70 if exact_impl == "triton" else 700
    want = gradients(tokens, phase=phase)
    before = torch.get_num_threads()
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        try:
            got = gradients(tokens, exact_impl, phase=phase)
            for x, y in zip(got, want, strict=True):
                if exact_impl == "cpu":
                    assert torch.equal(x, y)
                else:
                    # Another order of float64 sums, rounded once.
                    torch.testing.assert_close(x, y, rtol=2**-23, atol=0)
        finally:
            torch.set_num_threads(before)
        if exact_impl != "cpu":
            # Interpreted or emulated, a device knows no threads of torch: two runs say it all.
            assert torch.equal(gradients(tokens, exact_impl, phase=phase)[0], got[0])
            break


def test_tokens_of_no_profile_add_nothing(impl: str) -> None:
    grads = []
    for ids in (None, torch.tensor([0, 1, 0, -1], dtype=torch.int32)):
        inv_freq, factor = leaves()
        table = rk.RotaryTable.from_inv_freq(inv_freq, factor)
        q = draw(4, 2, 24, seed=0)
        keep = slice(None) if ids is not None else slice(0, None, 2)
        at, ids = torch.arange(4)[keep], ids if ids is None else ids[keep]
        out = rk.apply_rotary_qk(q[keep], None, at, table, profile_ids=ids, impl=impl)[0]
        upstream = torch.ones_like(out)
        grads.append(torch.autograd.grad(out, [inv_freq, factor], upstream))
    for x, y in zip(*grads, strict=True):
        torch.testing.assert_close(x, y, rtol=2**-23, atol=0)


def test_only_what_requires_grad_gets_one() -> None:
    inv_freq, _ = leaves()
    q = draw(5, 2, 24, seed=0)
    table = rk.RotaryTable.from_inv_freq(inv_freq)
    out = rk.apply_rotary_qk(q, q.clone(), torch.arange(5), table)
    assert out[1] is not None
    (alone,) = torch.autograd.grad(out[1].sum(), inv_freq, retain_graph=True)
    (both,) = torch.autograd.grad(out[0].sum() + out[1].sum(), inv_freq)
    torch.testing.assert_close(both, 2 * alone, rtol=1e-6, atol=1e-5)
    with torch.no_grad():
        assert not rk.apply_rotary_qk(q, None, torch.arange(5), table)[0].requires_grad


def test_a_second_derivative_of_the_scaling_is_refused() -> None:
    inv_freq, _ = leaves()
    table = rk.RotaryTable.from_inv_freq(inv_freq)
    out = rk.apply_rotary_qk(draw(5, 2, 24, seed=0).requires_grad_(), None, torch.arange(5), table)[
        0
    ]
    (grad,) = torch.autograd.grad(out.square().sum(), inv_freq, create_graph=True)
    with pytest.raises(rk.RopeScaleUnsupportedError, match="to be of first order"):
        grad.sum().backward()


def test_frequencies_are_learned() -> None:
    """A few steps of an optimiser, the table built anew for each, find the frequencies again."""
    q, at = draw(64, 2, 8, seed=0), torch.arange(64)
    goal = torch.tensor([0.3, 0.1, 0.03, 0.01])
    wanted = rk.apply_rotary_qk(q, None, at, rk.RotaryTable.from_inv_freq(goal))[0]
    learned = torch.nn.Parameter(goal * 1.02)
    optimiser = torch.optim.Adam([learned], lr=2e-4)
    for _ in range(150):
        optimiser.zero_grad()
        table = rk.RotaryTable.from_inv_freq(learned)
        loss = (rk.apply_rotary_qk(q, None, at, table)[0] - wanted).square().mean()
        loss.backward()
        optimiser.step()
    assert (learned.detach() / goal - 1).abs().max() < 2e-3


def test_frequencies_of_float64_and_of_other_kinds_take_gradients() -> None:
    inv_freq = SCALING.inv_freq.double().requires_grad_()
    factor = torch.tensor([FACTOR], dtype=torch.float64, requires_grad=True)
    table = rk.RotaryTable.from_inv_freq(inv_freq, factor)
    rk.apply_rotary_qk(draw(5, 2, 24, seed=0), None, torch.arange(5), table)[0].sum().backward()
    assert inv_freq.grad is not None
    assert inv_freq.grad.dtype == torch.float64
    assert factor.grad is not None
    assert factor.grad.shape == (1,)


def test_torch_func_gives_the_gradients_of_autograd() -> None:
    inv_freq = torch.linspace(0.1, 1.0, 4)
    q, at = torch.randn(3, 2, 8), torch.arange(3)

    def loss(frequencies: Tensor) -> Tensor:
        table = rk.RotaryTable.from_inv_freq(frequencies)
        return rk.apply_rotary_qk(q, None, at, table)[0].pow(3).sum()

    leaf = inv_freq.clone().requires_grad_()
    (want,) = torch.autograd.grad(loss(leaf), leaf)
    assert float(want.abs().max()) > 0
    assert torch.equal(torch.func.grad(loss)(inv_freq), want)
