"""RotaryEmbedding: the operator as a module of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .errors import check_flag
from .ops import apply_rotary_qk
from .scaling import RopeScaling
from .table import RotaryTable


class RotaryEmbedding(nn.Module):
    """Rotate q and k by one scaling, or by one of several chosen per token.

    Holds no parameter and nothing in `state_dict`. `.to(device)` moves its table; a cast such as
    `.bfloat16()` changes no bit of it.

    Args:
        scaling: One scaling or a sequence of them (profiles).
        device: Where the table lives.
        dynamic: As in `RotaryTable`.
        magnitude: As in `RotaryTable`.
        interleaved: Pairs are channels (2j, 2j + 1) if true, (j, j + rotary_dim / 2) if false.

    Example:
        >>> import torch, ropescale_kernels as rk
        >>> rotary = rk.RotaryEmbedding(rk.RopeScaling.default(rotary_dim=64, rope_theta=10000.0))
        >>> q, k = torch.randn(1, 16, 4, 64), torch.randn(1, 16, 1, 64)
        >>> q, k = rotary(q, k, torch.arange(16))
    """

    def __init__(
        self,
        scaling: RopeScaling | Sequence[RopeScaling],
        *,
        device: torch.device | str | None = None,
        dynamic: bool = False,
        magnitude: str = "both",
        interleaved: bool = False,
    ) -> None:
        super().__init__()
        check_flag("interleaved", interleaved)
        self.table = RotaryTable(scaling, device=device, dynamic=dynamic, magnitude=magnitude)
        self.interleaved = interleaved

    def forward(
        self,
        q: Tensor,
        k: Tensor | None,
        position_ids: Tensor,
        *,
        profile_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Rotate q and k, as `apply_rotary_qk` does."""
        return apply_rotary_qk(
            q, k, position_ids, self.table, profile_ids=profile_ids, interleaved=self.interleaved
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # A module's casts leave integers alone, so `fn` can only change the device.
        probe = torch.empty(0, dtype=torch.int32, device=self.table.device)
        self.table = self.table.to(fn(probe).device)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Describe the table."""
        return f"{self.table}, interleaved={self.interleaved}"
