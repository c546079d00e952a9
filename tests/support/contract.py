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


def scalings_of(kind: str, rotary_dim: int) -> Any:
    """Return the scaling or scalings of a table."""
    default = rk.RopeScaling.default(rotary_dim=rotary_dim, rope_theta=1e4)
    linear = rk.RopeScaling.linear(rotary_dim=rotary_dim, rope_theta=1e4, factor=2.0)
    if kind == "profiles":
        return [yarn(rotary_dim), default, linear]
    if kind == "dynamic":
        return [yarn(rotary_dim)] * 2
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
    if kind.startswith("dynamic"):
        table = rk.RotaryTable(scalings, device=device, dynamic=True)
        lengths = [100_000, 50_000][: table.num_profiles]
        table.update_(torch.tensor(lengths, device=device))
        return table
    magnitude = kind if kind in ("query", "none") else "both"
    return rk.RotaryTable(scalings, device=device, magnitude=magnitude)


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
