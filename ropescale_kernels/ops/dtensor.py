"""DTensor heads: every rank rotates its own shard, and nothing is gathered.

A rotation mixes only the channels of one head of one token. Shards of batch, tokens and heads are
therefore calls of their own, and shards of head_dim are not. The kinds of an operator's arguments
say how each argument is cut.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import RopeScaleUnsupportedError, RopeScaleValueError, expected
from ..reference.given_rows import head_axes
from ..table.state import TableState
from .check import check_token_shape, of_every_sequence
from .kinds import Argument, Call, Kind, is_by_sequence

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(q: object, k: object) -> bool:
    """Return whether q or k is a DTensor.

    Nothing is imported, because a caller with a DTensor has imported its module.
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(q, module.DTensor) | isinstance(k, module.DTensor)


def call_on_shards(function: Callable[..., Any], kind: type[Call], **arguments: Any) -> Any:
    """Return the results of a public function on the shards of this rank, as DTensors.

    Args:
        function: Takes the arguments by name.
        kind: The operator behind the function; its kinds say how each argument is cut. The function
            returns the operator's results in order, None for a result that is absent.
        arguments: The function's arguments. Those that are no fields of `kind` are passed as they
            are.

    Raises:
        RopeScaleUnsupportedError: Heads that are no DTensor, a shard of head_dim, a partial sum, or
            a DTensor as `out` or as a buffer to write.
        RopeScaleValueError: Meshes or placements that do not go together.
    """
    _refuse_out(arguments.pop("out", None))
    heads = {name: arguments[name] for name in kind.HEADS}
    _check_heads(heads)
    like = heads[kind.HEADS[0]]
    for name, meaning in kind.ARGUMENTS.items():
        if name in arguments:
            arguments[name] = _local(name, meaning, arguments, like, kind.OUT_OF_PLACE)
    results = function(**arguments)
    if results is None:
        return None
    found = (results,) if isinstance(results, Tensor) else tuple(results)
    wholes = [
        None if x is None else _as_shard(x, heads[output.like], int(bool(output.lead)))
        for output, x in zip(kind.OUTPUTS, found, strict=True)
    ]
    return wholes[0] if isinstance(results, Tensor) else type(results)(wholes)


def _check_heads(heads: dict[str, Any]) -> None:
    """Check the tensors that are rotated, alone and against the first of them."""
    from torch.distributed.tensor import DTensor

    (first_name, first), *_ = heads.items()
    for name, x in heads.items():
        if x is None and name != first_name:
            continue
        if not isinstance(x, DTensor):
            raise RopeScaleUnsupportedError(
                expected(name, "a DTensor, as the other is one", type(x).__name__)
            )
        _check_placements(name, x)
    for name, x in heads.items():
        if x is None or x is first:
            continue
        if x.device_mesh != first.device_mesh:
            raise RopeScaleValueError(
                expected(name, f"{first.device_mesh} as {first_name}", str(x.device_mesh))
            )
        want, got = (_token_placements(each) for each in (first, x))
        if want != got:
            raise RopeScaleValueError(
                expected(name, f"batch and tokens placed {want} as {first_name}'s", str(got))
            )


def _local(
    name: str, meaning: Argument, arguments: dict[str, Any], like: DTensor, out_of_place: str
) -> Any:
    """Return this rank's part of an argument. A plain tensor is this rank's part already."""
    x = arguments[name]
    if not isinstance(x, Tensor):
        return x
    token_dims = like.dim() - 2
    if meaning.kind is Kind.HEADS:
        return _local_heads(name, x, meaning.written, out_of_place)
    if meaning.kind is Kind.TOKENS:
        if _is_dtensor(x) and meaning.lead != "copies":
            # A message shows the whole shape, and not that of this rank's part.
            check_token_shape(name, x.shape, meaning, like.shape, _num_axes(arguments))
        if meaning.by_sequence and _is_dtensor(x) and x.dim() < token_dims:
            # Shapes of the whole batch decide, because a shard's batch may equal its seqlen.
            if not is_by_sequence(x.shape, like.shape[:token_dims]):
                return _cut(name, x.unsqueeze(0), like)
            # One value per sequence goes with the sequences.
            return _cut(name, x.unsqueeze(-1), like).squeeze(-1)
        has_axes = meaning.lead == "axes" and _num_axes(arguments) > 0 and x.dim() > token_dims
        return _cut(name, x, like, lead=int(has_axes or meaning.lead == "copies"))
    if meaning.kind is Kind.ROWS and arguments[meaning.row_index] is None and _is_dtensor(x):
        lead = int(meaning.has_row_axes(arguments))
        for axis in reversed(head_axes(name, x.shape, like.shape[:-2], lead * x.shape[0])):
            x = x.squeeze(axis)
        if lead:
            # Rows of all tokens have one reading, also if a shard's batch equals the axes.
            x = of_every_sequence(x, like)
        return _cut(name, x, like, lead=lead, tail=1)
    if meaning.kind is Kind.BUFFER and _is_dtensor(x):
        raise RopeScaleUnsupportedError(
            expected(name, "this rank's own buffer", "a DTensor", "Pass its .to_local().")
        )
    return x


def _num_axes(arguments: dict[str, Any]) -> int:
    tables = [x for x in arguments.values() if isinstance(x, TableState)]
    return tables[0].num_axes if tables else 0


def _local_heads(name: str, x: Any, written: bool, out_of_place: str) -> Tensor:
    # Autograd does not see a shard that is written.
    if written and torch.is_grad_enabled() and x.requires_grad:
        want, hint = "no grad of a DTensor in place", f"Use {out_of_place}."
        raise RopeScaleUnsupportedError(expected(name, want, "one that requires it", hint))
    local: Tensor = x.to_local()
    return local


def _cut(name: str, x: Tensor, like: DTensor, *, lead: int = 0, tail: int = 0) -> Tensor:
    """Return the values (or rows) of this rank's tokens. A replicated DTensor is cut as `like` is.

    Args:
        name: The argument's name.
        x: `(lead axes, [batch,] seqlen, tail axes)`; a tensor without batch serves every sequence.
        like: The heads whose tokens are cut.
        lead: Axes in front of the tokens'.
        tail: Axes behind them.
    """
    if not _is_dtensor(x):
        return x
    from torch.distributed.tensor import Replicate, Shard

    whole: Any = x
    missing = like.dim() - 2 - (x.dim() - lead - tail)
    wanted: list[Any] = []
    for mine, its in zip(_token_placements(like), whole.placements, strict=True):
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
    local: Tensor = whole.redistribute(placements=wanted).to_local()
    return local


def _is_dtensor(x: object) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(x, DTensor)


def _refuse_out(out: object) -> None:
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
    """Return for each mesh axis the axis of batch or tokens that it cuts, or None."""
    heads = x.dim() - 2
    dims = [getattr(place, "dim", None) for place in x.placements]
    return [dim if dim is not None and dim < heads else None for dim in dims]


def _as_shard(local: Tensor, like: DTensor, lead: int) -> Tensor:
    """Return the DTensor of a result: placed as the heads it is like, behind `lead` axes."""
    from torch.distributed.tensor import DTensor, Shard

    shape = (*local.shape[:lead], *like.shape)
    placements = like.placements
    if lead:
        placements = tuple(Shard(p.dim + lead) if isinstance(p, Shard) else p for p in placements)
    whole: Tensor = DTensor.from_local(
        local,
        like.device_mesh,
        placements,
        run_check=False,
        shape=torch.Size(shape),
        stride=_strides_ordered_as(local, shape),
    )
    return whole


def _strides_ordered_as(local: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a dense tensor of `shape` whose axes are in the order of local's."""
    strides, reach = [0] * len(shape), 1
    for dim in sorted(range(len(shape)), key=lambda d: (local.stride(d), -d)):
        strides[dim] = reach
        reach *= shape[dim]
    return tuple(strides)
