"""The contract as named calls: each option, layout, table and shape of positions that is promised.

A new option gets its call here. The calls then run on every implementation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import ropescale_kernels as rk

from . import layouts
from .draws import draw, yarn

Pair = tuple[Tensor, Tensor | None]
POSITIONS = torch.tensor([[7919, -1, 2**31 - 1], [2**24 + 1, 0, 131071]])
BATCH, SEQLEN = POSITIONS.shape


@dataclass(frozen=True)
class Case:
    """A call: sizes and layout of q and k, a table, positions and options."""

    heads: tuple[int, int] = (4, 2)
    head_dim: int = 64
    rotary_dim: int = 64
    batch: int = BATCH
    seqlen: int = SEQLEN
    has_k: bool = True
    layout: str = "contiguous"
    table: str = "static"
    position_ids: Tensor = POSITIONS
    profile_ids: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)


def tensors(case: Case, dtype: torch.dtype, device: torch.device | str = "cpu") -> Pair:
    """Return q and k of a call. The views are made on the device: a copy to it loses strides."""

    def new(*shape: int, seed: int = 0) -> Tensor:
        return draw(*shape, dtype=dtype, seed=seed).to(device)

    nheads, nheads_k = case.heads
    shape = (case.batch, case.seqlen, nheads, case.head_dim)
    if case.layout in layouts.BOTH:
        q, k = layouts.BOTH[case.layout](new, shape, nheads_k)
        return q, k if case.has_k else None
    layout = layouts.ONE[case.layout]
    shape_k = (case.batch, case.seqlen, nheads_k, case.head_dim)
    k = layout(lambda *sizes: new(*sizes, seed=1), shape_k) if case.has_k else None
    return layout(new, shape), k


def far(*shape: int) -> Tensor:
    """Return positions of either sign that need more than 32 bits."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(-(2**40), 2**40, shape, generator=generator)


def scalings_of(kind: str, rotary_dim: int) -> Any:
    """Return the scaling or scalings of a table."""
    default = rk.RopeScaling.default(rotary_dim=rotary_dim, rope_theta=1e4)
    linear = rk.RopeScaling.linear(rotary_dim=rotary_dim, rope_theta=1e4, factor=2.0)
    if kind == "profiles":
        return [yarn(rotary_dim), default, linear]
    if kind == "dynamic":
        return [yarn(rotary_dim)] * 2
    if kind == "dynamic factors":
        old = {"rope_theta": 1e4, "original_max_position_embeddings": 4096}
        return [yarn(rotary_dim, factor=factor, **old) for factor in (2.0, 4.0, 8.0)]
    if kind == "dynamic sections":
        return [yarn(rotary_dim, mrope_section=(16, 8, 8))] * 2
    if kind == "dynamic NTK":
        return rk.RopeScaling.dynamic_ntk(
            rotary_dim=rotary_dim, rope_theta=1e4, factor=2.0, max_position_embeddings=4096
        )
    return yarn(rotary_dim)


def table_of(case: Case, device: torch.device | str = "cpu") -> rk.RotaryTable:
    """Return the table of a call; a dynamic table is at its lengths."""
    kind, scalings = case.table, scalings_of(case.table, case.rotary_dim)
    if kind == "sections":
        return rk.RotaryTable.from_inv_freq(
            scalings.inv_freq, 1.25, device=device, mrope_section=(16, 8, 8)
        )
    if kind == "infinite angles":
        inv_freq = torch.full((case.rotary_dim // 2,), 3e38)
        return rk.RotaryTable.from_inv_freq(inv_freq, device=device)
    if kind.startswith("dynamic"):
        table = rk.RotaryTable(scalings, device=device, dynamic=True)
        lengths = [100, 40_000, 9000] if table.num_profiles == 3 else [100_000, 50_000]
        table.update_(torch.tensor(lengths[: table.num_profiles], device=device))
        return table
    magnitude = kind if kind in ("query", "none") else "both"
    return rk.RotaryTable(scalings, device=device, magnitude=magnitude)


def call(case: Case, dtype: torch.dtype, device: torch.device, impl: str, **more: Any) -> Pair:
    """Make a call and return q and k rotated.

    Args:
        case: The call.
        dtype: Of q and k.
        device: Of all tensors.
        impl: Name of an implementation.
        more: Arguments of the public function; `tensors`: q and k; `apply`: another function.
    """
    q, k = more.pop("tensors", None) or tensors(case, dtype, device)
    ids = None if case.profile_ids is None else case.profile_ids.to(device)
    apply = more.pop("apply", rk.apply_rotary_qk)
    result = apply(
        q,
        k,
        case.position_ids.to(device),
        table_of(case, device),
        profile_ids=ids,
        impl=impl,
        **case.options,
        **more,
    )
    return (q, k) if result is None else result


# The calls of every implementation, a device's included.
CASES = {
    "plain": Case(),
    "heads first": Case(layout="heads first"),
    "packed qkv": Case(layout="packed qkv"),
    "odd sizes": Case(layout="odd offset", head_dim=46, rotary_dim=46),
    "tokens": Case(layout="tokens", position_ids=POSITIONS.flatten()),
    "q alone": Case(has_k=False),
    "no tokens": Case(seqlen=0, position_ids=POSITIONS[:, :0]),
    "interleaved": Case(options={"interleaved": True}),
    "conjugate": Case(options={"conjugate": True}),
    "partial": Case(head_dim=128, rotary_dim=32),
    "partial, interleaved": Case(head_dim=96, rotary_dim=24, options={"interleaved": True}),
    "smallest": Case(head_dim=2, rotary_dim=2, heads=(1, 1)),
    "largest": Case(head_dim=512, rotary_dim=512, heads=(1, 1)),
    "MLA": Case(heads=(128, 1)),
    "head_dim 80": Case(head_dim=80, rotary_dim=80, heads=(3, 1)),
    "phase float32": Case(options={"phase": "float32"}),
    "int32 positions": Case(position_ids=POSITIONS.to(torch.int32)),
    "one row of positions": Case(position_ids=POSITIONS[0]),
    "profiles by token": Case(
        table="profiles", profile_ids=torch.tensor([[0, 1, 2], [2, 1, 0]], dtype=torch.int32)
    ),
    "profiles by sequence": Case(
        table="profiles", profile_ids=torch.tensor([2, 1], dtype=torch.int32)
    ),
    "profiles of a row": Case(
        table="profiles", profile_ids=torch.tensor([2, 0, 1], dtype=torch.int32)
    ),
    "profiles out of range": Case(
        table="profiles", profile_ids=torch.tensor([[0, 3, -1], [2**30, 1, 0]], dtype=torch.int32)
    ),
    "dynamic": Case(table="dynamic", profile_ids=torch.tensor([1, 0], dtype=torch.int32)),
    "dynamic NTK": Case(table="dynamic NTK"),
    "M-RoPE": Case(table="sections", position_ids=torch.stack([POSITIONS + n for n in range(3)])),
    "M-RoPE, one axis": Case(table="sections"),
    "magnitude query": Case(table="query"),
    "magnitude none": Case(table="none"),
}
# Sources of cosines and sines: Triton compiles each apart. The order of pairs and the alignment of
# rows are compiled apart in Triton and in CUDA C++.
EVERY_AXIS = torch.stack([POSITIONS + n for n in range(3)])
BY_TOKEN = torch.tensor([[0, 1, 1], [1, 0, 0]], dtype=torch.int32)
SOURCES: dict[str, dict[str, Any]] = {
    "static": {},
    "phase float32": {"options": {"phase": "float32"}},
    "profiles": {
        "table": "profiles",
        "position_ids": POSITIONS.to(torch.int32),
        "profile_ids": BY_TOKEN,
    },
    "dynamic, M-RoPE, profiles": {
        "table": "dynamic sections",
        "position_ids": EVERY_AXIS,
        "profile_ids": BY_TOKEN,
    },
}
CODE = {
    f"{source}, {'interleaved' if interleaved else 'halves'}, {rows}": Case(
        layout="contiguous" if rows == "vectors" else "odd offset",
        head_dim=80,
        **(made | {"options": made.get("options", {}) | {"interleaved": interleaved}}),
    )
    for source, made in SOURCES.items()
    for interleaved in (False, True)
    for rows in ("vectors", "elements")
}
CASES |= CODE

# Views of q and k, in sizes of which no row is whole vectors.
STRIDED = {
    f"{layout}, 46 channels": Case(
        layout=layout,
        heads=(3, 2) if layout == "packed tokens" else (3, 1),
        head_dim=46,
        rotary_dim=46,
        has_k=layout != "reversed axes",
        position_ids=POSITIONS.flatten() if layout == "packed tokens" else POSITIONS,
    )
    for layout in (
        "heads first",
        "packed qkv",
        "packed tokens",
        "odd offset",
        "reversed axes",
        "expanded",
    )
}
# (head_dim, rotary_dim): whole vectors, an odd number of vectors, no whole vectors, and rows with
# copied channels.
_SIZES = ((64, 64), (40, 40), (24, 24), (46, 46), (128, 32), (48, 16), (23, 6), (2, 2))
# Sizes and views at the edges of blocks and vectors.
EDGES = {
    f"{head_dim}/{rotary_dim}, {'interleaved' if interleaved else 'halves'}": Case(
        heads=(7, 2),
        head_dim=head_dim,
        rotary_dim=rotary_dim,
        position_ids=far(BATCH, SEQLEN),
        options={"interleaved": interleaved},
    )
    for head_dim, rotary_dim in _SIZES
    for interleaved in (False, True)
} | {
    # More tokens than a block has threads, in several blocks.
    "many tokens": Case(
        layout="tokens", heads=(2, 1), has_k=False, batch=1, seqlen=150, position_ids=far(150)
    ),
    "nine heads first": Case(
        layout="heads first", heads=(9, 1), has_k=False, position_ids=far(1, SEQLEN)
    ),
    # A group of heads is larger than the number of heads in flight.
    "many heads": Case(
        layout="heads first", heads=(90, 1), has_k=False, position_ids=far(1, SEQLEN)
    ),
    "odd address": Case(
        layout="odd offset", heads=(2, 1), has_k=False, batch=1, position_ids=far(SEQLEN)
    ),
    "odd stride": Case(layout="odd stride", batch=1, seqlen=4, position_ids=far(4).int()),
    # The rotated channels are whole vectors, the copied ones are not.
    "odd rest": Case(
        layout="padded to vectors",
        heads=(2, 1),
        has_k=False,
        head_dim=21,
        rotary_dim=16,
        batch=1,
        position_ids=far(SEQLEN),
    ),
}
# (batch, seqlen, nheads, nheads_k, rotary_dim): sizes around a block of tokens and of heads, one
# pair, and numbers of pairs that are no power of two.
_TILES = ((2, 9, 5, 3, 96), (1, 1, 1, 0, 2), (3, 1, 4, 4, 80), (1, 17, 8, 1, 64), (2, 4, 9, 2, 48))
TILES = {
    f"{batch} x {seqlen} tokens, {nheads} + {nheads_k} heads": Case(
        batch=batch,
        seqlen=seqlen,
        heads=(nheads, nheads_k),
        has_k=nheads_k > 0,
        head_dim=rotary_dim,
        rotary_dim=rotary_dim,
        position_ids=torch.arange(seqlen),
    )
    for batch, seqlen, nheads, nheads_k, rotary_dim in _TILES
}
_FACTORS: dict[str, Any] = {
    "table": "dynamic factors",
    "position_ids": far(BATCH, SEQLEN),
    "profile_ids": torch.tensor([[0, 1, 2], [3, -1, 1]], dtype=torch.int32),
}
# Options together, and phases that are infinite or far.
COMBINED = {
    "far": Case(position_ids=far(BATCH, SEQLEN)),
    "conjugate, phase float32": Case(
        position_ids=far(BATCH, SEQLEN), options={"conjugate": True, "phase": "float32"}
    ),
    "infinite angles": Case(table="infinite angles", options={"phase": "float32"}),
    "dynamic factors": Case(**_FACTORS),
    "dynamic factors, phase float32": Case(**_FACTORS, options={"phase": "float32"}),
}
GROUPS = (CASES, STRIDED, EDGES, TILES, COMBINED)
CALLS = {name: case for group in GROUPS for name, case in group.items()}


@dataclass(frozen=True)
class RowsCase:
    """A call with the caller's cosines and sines: their shape, rows by index, and options.

    All values of a row differ, so that another order of the row gives another result.
    """

    shape: tuple[int, ...]
    index: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)
    # The last stride.
    stride: int = 1


_INDEX = torch.tensor([[0, 8, 9], [-1, 4, 2**33]])
_AXES = {"rows": "half", "mrope_section": (16, 8, 8)}
_TURNS = {"mrope_section": (12, 10, 10), "mrope_interleaved": True, "interleaved": True}
ROWS = {
    "by token": RowsCase((SEQLEN, 32), options={"rows": "half"}),
    # The last row is out of range.
    "by index": RowsCase((SEQLEN, 32), torch.tensor([2, 0, 5]), {"rows": "half"}),
    "by index, doubled": RowsCase((9, 64), _INDEX, {"rotary_dim": 64}),
    "by token of each sequence": RowsCase(
        (BATCH, SEQLEN, 32), options={"rows": "half", "conjugate": True}
    ),
    "doubled, partial": RowsCase((SEQLEN, 32), options={"rows": "doubled"}),
    "repeated": RowsCase((BATCH, SEQLEN, 64), options={"rows": "repeated", "interleaved": True}),
    "repeated, by index": RowsCase((9, 64), _INDEX, {"rows": "repeated"}),
    "real parts": RowsCase((SEQLEN, 32), options={"rows": "half"}, stride=2),
    "real parts, interleaved": RowsCase(
        (SEQLEN, 32), options={"rows": "half", "interleaved": True}, stride=2
    ),
    "repeated in every third value, by index": RowsCase(
        (9, 32), _INDEX, {"rows": "repeated", "interleaved": True}, stride=3
    ),
    "axes": RowsCase((3, BATCH, SEQLEN, 32), options=_AXES),
    "axes of one sequence, strided": RowsCase((3, SEQLEN, 32), options=_AXES, stride=2),
    "axes in turns, repeated": RowsCase(
        (3, BATCH, SEQLEN, 64), options=_TURNS | {"rows": "repeated"}
    ),
    "an axis for heads first": RowsCase((BATCH, 1, SEQLEN, 32), options={"rows": "half"}),
    "axes for sequences and heads": RowsCase((SEQLEN, 1, 1, 32), options={"rows": "half"}),
}


def rows_of(
    case: RowsCase, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return cosines, sines and the index of a call's rows."""
    angle = draw(*case.shape[:-1], case.shape[-1] * case.stride, seed=3)
    index = None if case.index is None else case.index.to(device)
    # The views are made on the device: a copy to it loses strides.
    cos, sin = (x.to(device, dtype)[..., :: case.stride] for x in (angle.cos(), angle.sin()))
    return cos, sin, index
