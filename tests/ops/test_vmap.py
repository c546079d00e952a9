"""torch.func.vmap, grad and their compositions give what a loop gives, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from tools.contract.draws import draw, yarn

SCALING = yarn(16)
TABLE = rk.RotaryTable(SCALING)
SECTIONED = rk.RotaryTable(
    rk.RopeScaling.default(rotary_dim=16, rope_theta=1e6, mrope_section=[4, 2, 2])
)
PROFILES = rk.RotaryTable([SCALING, rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4)])
B, S, N = 3, 3, 4

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def ints(*shape: int, limit: int = 5000) -> Tensor:
    return torch.randint(0, limit, shape, generator=torch.Generator().manual_seed(0))


def rotated(q: Tensor, k: Tensor | None, at: Tensor, table: rk.RotaryTable, **kw: Any) -> Any:
    q_out, k_out = rk.apply_rotary_qk(q, k, at, table, **kw)
    return q_out if k_out is None else (q_out, k_out)


# q, k, positions, profiles; where each is mapped (None: shared); the table.
CASES: dict[str, tuple[Any, Any, rk.RotaryTable]] = {
    "sequences": ((draw(N, B, S, 2, 20), draw(N, B, S, 1, 20), ints(S)), (0, 0, None), TABLE),
    "tokens": ((draw(N, S, 2, 20), draw(N, S, 1, 20), ints(S)), (0, 0, None), TABLE),
    "positions alone": (
        (draw(B, S, 2, 20), draw(B, S, 1, 20), ints(N, B, S)),
        (None, None, 0),
        TABLE,
    ),
    "positions of one row": ((draw(N, B, S, 2, 20), None, ints(N, 1, S)), (0, None, 0), TABLE),
    "heads": ((draw(B, S, 2, N, 20), draw(B, S, 1, N, 20), ints(S)), (3, 3, None), TABLE),
    "k shared": ((draw(B, N, S, 2, 20), draw(B, S, 1, 20), ints(B, S)), (1, None, None), TABLE),
    "axes": ((draw(N, B, S, 2, 20), None, ints(3, N, 1, S)), (0, None, 1), SECTIONED),
    "axes of tokens": ((draw(N, S, 2, 20), None, ints(3, S)), (0, None, None), SECTIONED),
}


def pieces(x: Any, dim: int | None, i: int) -> Any:
    return x if dim is None else x.select(dim, i)


@pytest.mark.parametrize("case", CASES)
def test_a_mapped_call_is_a_loop(case: str) -> None:
    inputs, dims, table = CASES[case]

    def call(q: Tensor, k: Tensor | None, at: Tensor) -> Any:
        return rotated(q, k, at, table)

    got = torch.vmap(call, in_dims=dims)(*inputs)
    for i in range(N):
        want = call(*(pieces(x, dim, i) for x, dim in zip(inputs, dims, strict=True)))
        for x, y in zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]:
            assert torch.equal(x[i], y)


# As many sequences as tokens: only the rule can tell one from the other.
@pytest.mark.parametrize("shape", [(N, B), (N, B, S), (B,)])
def test_profiles_are_mapped(shape: tuple[int, ...]) -> None:
    q, ids = draw(N, B, S, 2, 20), ints(*shape, limit=2).int()
    mapped = len(shape) > 1

    def call(q: Tensor, ids: Tensor) -> Any:
        return rotated(q, None, torch.arange(S), PROFILES, profile_ids=ids)

    got = torch.vmap(call, in_dims=(0, 0 if mapped else None))(q, ids)
    for i in range(N):
        assert torch.equal(got[i], call(q[i], ids[i] if mapped else ids))


@pytest.mark.parametrize("shape", [(N, S + 1), (N, 1, S + 1), (S + 1,)])
def test_profiles_shared_by_sequences_are_mapped(shape: tuple[int, ...]) -> None:
    q, ids, at = draw(N, B, S + 1, 2, 20), ints(*shape, limit=2).int(), torch.arange(S + 1)
    mapped = len(shape) > 1

    def call(q: Tensor, ids: Tensor) -> Any:
        return rotated(q, None, at, PROFILES, profile_ids=ids)

    def operator(q: Tensor, ids: Tensor) -> Any:
        call = torch.ops.ropescale.rotary_qk.default
        return call(q, None, at, ids, *PROFILES.state, None, None, False, False, False, "auto")[0]

    for function in (call, operator):
        got = torch.vmap(function, in_dims=(0, 0 if mapped else None))(q, ids)
        for i in range(N):
            per_token = (ids[i] if mapped else ids).expand(B, S + 1)
            assert torch.equal(got[i], call(q[i], per_token))


@pytest.mark.parametrize("indexed", [False, True])
def test_rows_of_the_caller_are_mapped(indexed: bool) -> None:
    q, k = draw(N, B, S, 2, 20), draw(N, B, S, 1, 20)
    cos, sin = (draw(6, 8) if indexed else draw(N, S, 8, seed=i) for i in (1, 2))
    at = ints(N, B, S, limit=6)

    def call(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, at: Tensor) -> Any:
        return rk.apply_rotary_cos_sin(q, k, cos, sin, at if indexed else None, rows="half")

    dims = (0, 0, None if indexed else 0, None if indexed else 0, 0)
    got = torch.vmap(call, in_dims=dims)(q, k, cos, sin, at)
    for i in range(N):
        rows = (cos, sin) if indexed else (cos[i], sin[i])
        for x, y in zip(got, call(q[i], k[i], *rows, at[i]), strict=True):
            assert torch.equal(x[i], y)


def test_gradients_by_torch_func() -> None:
    q, upstream = draw(N, S, 2, 20), draw(S, 2, 20, seed=1)
    at = ints(S)

    def loss(q: Tensor) -> Tensor:
        return (rotated(q, None, at, TABLE) * upstream).sum()

    want = rotated(upstream, None, at, TABLE, conjugate=True)
    assert torch.equal(torch.func.grad(loss)(q[0]), want)
    for x in torch.func.vmap(torch.func.grad(loss))(q):
        assert torch.equal(x, want)

    def square(q: Tensor) -> Tensor:
        return 0.5 * rotated(q, None, at, TABLE).square().sum()

    again = torch.func.grad(lambda q: torch.func.grad(square)(q).sum())(q[0])
    factor = TABLE.attention_factor_bits.view(torch.float32)[0, 0]
    torch.testing.assert_close(again[..., :16], torch.full((S, 2, 16), float(factor) ** 2))


def test_what_has_no_batched_form_is_refused() -> None:
    q = draw(N, S, 2, 20)
    with pytest.raises(rk.RopeScaleUnsupportedError, match="q: expected plain tensors"):
        torch.vmap(lambda q: rk.apply_rotary_qk_(q, None, torch.arange(S), TABLE))(q)
    cos, at = draw(N, 6, 8), ints(S, limit=6)
    with pytest.raises(rk.RopeScaleUnsupportedError, match="one table for all that vmap maps"):
        torch.vmap(lambda c: rk.apply_rotary_cos_sin(q[0], None, c, c, at, rows="half"))(cos)
