"""DTensor q and k: every rank rotates its own shard, and nothing is gathered.

A rotation mixes only the channels of one head of one token, so shards of batch, tokens and heads
are calls of their own; shards of head_dim are not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..errors import RopeScaleUnsupportedError, RopeScaleValueError, expected

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(q: object, k: object) -> bool:
    """Whether q or k is a DTensor; imports nothing, as who has one has imported it."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(q, module.DTensor) | isinstance(k, module.DTensor)


class Shards(NamedTuple):
    """The local call of one rank, and what it is a part of."""

    q: DTensor
    k: DTensor | None

    @classmethod
    def of(cls, q: Any, k: Any) -> Shards:
        """Check q and k.

        Raises:
            RopeScaleUnsupportedError: One of them is no DTensor, a shard of head_dim, or a partial
                sum.
            RopeScaleValueError: Their meshes, or their shards of batch and tokens, differ.
        """
        from torch.distributed.tensor import DTensor

        for name, x in (("q", q), ("k", k)):
            if x is None and name == "k":
                continue
            if not isinstance(x, DTensor):
                raise RopeScaleUnsupportedError(
                    expected(name, "a DTensor, as the other is one", type(x).__name__)
                )
            _check_placements(name, x)
        if k is not None:
            if k.device_mesh != q.device_mesh:
                raise RopeScaleValueError(
                    expected("k", f"{q.device_mesh} as q", str(k.device_mesh))
                )
            mine, yours = (_token_placements(x) for x in (q, k))
            if mine != yours:
                raise RopeScaleValueError(
                    expected("k", f"batch and tokens placed {mine} as q's", str(yours))
                )
        return cls(q, k)

    def local(self) -> tuple[Tensor, Tensor | None]:
        """Give this rank's shards of q and k."""
        return self.q.to_local(), None if self.k is None else self.k.to_local()

    def local_to_write(self) -> tuple[Tensor, Tensor | None]:
        """Give this rank's shards to be rotated in place; autograd would not see that."""
        if torch.is_grad_enabled():
            for name, x in (("q", self.q), ("k", self.k)):
                if x is not None and x.requires_grad:
                    want, hint = "no grad of a DTensor in place", "Use apply_rotary_qk."
                    raise RopeScaleUnsupportedError(
                        expected(name, want, "one that requires it", hint)
                    )
        return self.local()

    def positions(self, position_ids: Any, num_axes: int) -> Any:
        """Give this rank's position_ids."""
        dims = position_ids.dim() if isinstance(position_ids, Tensor) else 0
        return self._tokens("position_ids", position_ids, lead=num_axes and dims > self.q.dim() - 2)

    def profiles(self, profile_ids: Any) -> Any:
        """Give this rank's profile_ids; those of `(batch,)` go with the sequences."""
        if isinstance(profile_ids, Tensor) and profile_ids.dim() < self.q.dim() - 2:
            return self._tokens("profile_ids", profile_ids.unsqueeze(-1)).squeeze(-1)
        return self._tokens("profile_ids", profile_ids)

    def rows(self, name: str, x: Any) -> Any:
        """Give this rank's rows of cos or sin."""
        return self._tokens(name, x, tail=1)

    def whole(self, q_out: Tensor, k_out: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Make DTensors of this rank's results, placed as q and k are."""
        return _as_shard(q_out, self.q), (
            None if k_out is None or self.k is None else _as_shard(k_out, self.k)
        )

    def _tokens(self, name: str, x: Any, *, lead: int = 0, tail: int = 0) -> Any:
        """Give what holds one value (or row) per token of this rank.

        A plain tensor is local already. A DTensor that is replicated is cut as q's tokens are.

        Args:
            name: Of the argument.
            x: `(lead axes, [batch,] seqlen, tail axes)`; what is shorter serves every sequence.
            lead: Axes in front of the tokens'.
            tail: Axes behind them.
        """
        from torch.distributed.tensor import DTensor, Replicate, Shard

        if not isinstance(x, DTensor):
            return x
        token_dims = self.q.dim() - 2
        missing = token_dims - (x.dim() - lead - tail)
        wanted: list[Any] = []
        for mine, its in zip(_token_placements(self.q), x.placements, strict=True):
            place: Any = Replicate()
            if mine is not None:
                dim = lead + mine - missing
                shared = mine < missing or x.shape[dim] == 1
                place = Replicate() if shared else Shard(dim)
            if its != place and not its.is_replicate():
                raise RopeScaleValueError(
                    expected(name, f"{place} or Replicate() to go with q", str(its))
                )
            wanted.append(place)
        return x.redistribute(placements=wanted).to_local()


def refuse_out(out: object) -> None:
    """Refuse buffers for results that are DTensors."""
    if out is not None:
        raise RopeScaleUnsupportedError(
            expected("out", "None where q is a DTensor", type(out).__name__, "Rotate in place.")
        )


def _check_placements(name: str, x: DTensor) -> None:
    heads = x.dim() - 2
    for place in x.placements:
        if place.is_partial():
            raise RopeScaleUnsupportedError(
                expected(name, "shards or replicas", str(place), "Redistribute it first.")
            )
        dim = getattr(place, "dim", 0)
        if dim > heads:
            raise RopeScaleUnsupportedError(
                expected(
                    name,
                    "shards of batch, tokens or heads, as pairs of channels belong together",
                    f"{place} of shape {tuple(x.shape)} (head_dim)",
                )
            )


def _token_placements(x: DTensor) -> list[int | None]:
    """For each mesh axis, the axis of batch or tokens that it cuts, or None."""
    heads = x.dim() - 2
    dims = [getattr(place, "dim", None) for place in x.placements]
    return [dim if dim is not None and dim < heads else None for dim in dims]


def _as_shard(local: Tensor, like: DTensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    whole: Tensor = DTensor.from_local(
        local,
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=_strides_ordered_as(local, like.shape),
    )
    return whole


def _strides_ordered_as(local: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    """Give strides of a dense tensor of `shape` whose axes are in the order of local's."""
    strides, reach = [0] * len(shape), 1
    for dim in sorted(range(len(shape)), key=lambda d: (local.stride(d), -d)):
        strides[dim] = reach
        reach *= shape[dim]
    return tuple(strides)
