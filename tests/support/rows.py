"""Given rows of cos and sin in each order, and with any last stride."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from support.bits import differing
from tools.contract.draws import draw


def half_rows(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return cos and sin whose values all differ."""
    angle = draw(*shape, seed=3)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def half(x: Tensor) -> Tensor:
    """Return c0 c1 .. as it is."""
    return x


def doubled(x: Tensor) -> Tensor:
    """Return c0 c1 .. c0 c1 .. of c0 c1 .."""
    return torch.cat((x, x), -1)


def repeated(x: Tensor) -> Tensor:
    """Return c0 c0 c1 c1 .. of c0 c1 .."""
    return x.repeat_interleave(2, -1)


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "half": half,
    "doubled": doubled,
    "repeated": repeated,
}


def strided(x: Tensor, stride: int) -> Tensor:
    """Return x with a last stride, among values that nothing may read."""
    wide = torch.full((*x.shape, stride), torch.nan, dtype=x.dtype)
    wide[..., 0] = x
    return wide.flatten(-2)[..., ::stride]


def differ(x: tuple[Tensor | None, ...], y: tuple[Tensor | None, ...]) -> bool:
    """Return whether any result has other bits; a NaN equals any NaN."""
    pairs = zip(x, y, strict=True)
    return any(a is not None and b is not None and differing(a, b) > 0 for a, b in pairs)
