"""Calls that a graph for ONNX serves, in one model, and the truth about their results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

import ropescale_kernels as rk
from tools.contract.draws import draw, yarn

Inputs = dict[str, Tensor]
MAX_POSITION = 40_000
HEAD_DIM = 24
YARN = yarn(16)
PLAIN = rk.RotaryTable(YARN)
WHOLE = rk.RotaryTable(yarn(HEAD_DIM))
PROFILES = rk.RotaryTable([YARN, rk.RopeScaling.default(rotary_dim=16, rope_theta=1e4)])
SECTIONED = yarn(16, mrope_section=[4, 2, 2])
AXES = rk.RotaryTable(SECTIONED)
TURNS = rk.RotaryTable(yarn(16, mrope_section=[4, 2, 2], mrope_interleaved=True))
# Rows of cos and sin that a caller holds.
ANGLES = torch.arange(200.0).outer(YARN.inv_freq)
COS, SIN = ANGLES.cos(), ANGLES.sin()


@dataclasses.dataclass(frozen=True)
class Case:
    """A call.

    Attributes:
        table: The table; None for given rows of cos and sin.
        options: Flags of the call.
        dtype: The type of q and k.
        positions: The input that holds position_ids, "" for a call without them.
        profiles: The input that holds profile_ids, "" for a call without them.
        packed: Whether the heads are `(num_tokens, nheads, head_dim)`.
        way: "in place", "q alone", or "" for the ordinary call.
    """

    table: rk.RotaryTable | None = PLAIN
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    positions: str = "at"
    profiles: str = ""
    packed: bool = False
    way: str = ""

    @property
    def rotary_dim(self) -> int:
        return 16 if self.table is None else self.table.rotary_dim

    @property
    def interleaved(self) -> bool:
        return bool(self.options.get("interleaved"))

    def heads(self, x: Inputs) -> list[Tensor]:
        """Return q, or q and k."""
        found = [x[name].to(self.dtype) for name in ("q", "k")]
        found = [heads.flatten(0, 1) for heads in found] if self.packed else found
        return found[:1] if self.way == "q alone" else found

    def call(self, x: Inputs, library: Any = rk, **more: Any) -> list[Tensor]:
        """Return the results of a library's functions."""
        q, k = [*self.heads(x), None][:2]
        tokens = {name: x[name] for name in (self.positions, self.profiles) if name}
        cos, sin = x["cos"], x["sin"]
        if self.packed:
            tokens = {name: value.flatten(-2) for name, value in tokens.items()}
            cos, sin = cos.flatten(0, 1), sin.flatten(0, 1)
        if self.positions == "indices":
            cos, sin = COS, SIN
        at, options = tokens.get(self.positions), self.options | more
        if self.table is None:
            results = library.apply_rotary_cos_sin(q, k, cos, sin, at, rotary_dim=16, **options)
        else:
            options |= {"profile_ids": tokens.get(self.profiles)}
            if self.way != "in place" or library is not rk:
                results = library.apply_rotary_qk(q, k, at, self.table, **options)
            else:
                results = q.clone(), k.clone()
                rk.apply_rotary_qk_(*results, at, self.table, **options)
        return [y for y in results if y is not None]


CASES = {
    "plain": Case(),
    "whole-heads": Case(WHOLE),
    "interleaved": Case(options={"interleaved": True}),
    "whole-heads-interleaved": Case(WHOLE, {"interleaved": True}),
    "conjugate": Case(options={"conjugate": True}),
    "phase-float32": Case(options={"phase": "float32"}),
    "magnitude-query": Case(rk.RotaryTable(YARN, magnitude="query")),
    "magnitude-none": Case(rk.RotaryTable(YARN, magnitude="none")),
    "float16": Case(dtype=torch.float16),
    "bfloat16": Case(dtype=torch.bfloat16),
    "one-row-of-positions": Case(positions="row"),
    "flat-int32-positions": Case(positions="flat"),
    "packed": Case(packed=True),
    "packed-interleaved": Case(WHOLE, {"interleaved": True}, packed=True),
    "in-place": Case(way="in place"),
    "q-alone": Case(way="q alone"),
    "profiles": Case(PROFILES, profiles="profiles"),
    "profiles-of-sequences": Case(PROFILES, profiles="of_sequences", positions="flat"),
    "profiles-not-chosen": Case(PROFILES),
    "profiles-packed": Case(PROFILES, profiles="profiles", packed=True),
    "axes": Case(AXES, positions="axes"),
    "axes-in-turns": Case(TURNS, {"interleaved": True}, positions="axes"),
    "axes-equal": Case(AXES),
    "axes-packed": Case(AXES, positions="axes", packed=True),
    "axes-magnitude-query": Case(rk.RotaryTable(SECTIONED, magnitude="query"), positions="axes"),
    "rows": Case(None, positions=""),
    "rows-packed": Case(None, positions="", packed=True),
    "rows-by-index": Case(None, {"conjugate": True}, positions="indices"),
}
# Cases whose graphs differ if the batch and the sequence length are not known.
OF_SHAPES = (
    *("whole-heads", "packed", "one-row-of-positions", "profiles-of-sequences", "axes"),
    *("rows", "rows-packed", "rows-by-index"),
)


class Model(torch.nn.Module):
    """Cases on the same inputs; results in float32, because numpy has no bfloat16."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, x: Inputs) -> list[list[Tensor]]:
        return [[y.to(torch.float32) for y in CASES[name].call(x)] for name in self.names]


def inputs(batch: int, seqlen: int, seed: int) -> Inputs:
    """Draw the inputs of every case."""
    generator = torch.Generator().manual_seed(seed)

    def integers(*shape: int, limit: int = MAX_POSITION + 1) -> Tensor:
        return torch.randint(0, limit, shape, generator=generator)

    rows = integers(batch, seqlen, limit=200)
    return {
        "q": draw(batch, seqlen, 3, HEAD_DIM, seed=seed),
        "k": draw(batch, seqlen, 2, HEAD_DIM, seed=seed + 1),
        "at": integers(batch, seqlen),
        "row": integers(1, seqlen),
        "flat": integers(seqlen).to(torch.int32),
        "axes": integers(3, batch, seqlen),
        "indices": integers(batch, seqlen, limit=200),
        "profiles": integers(batch, seqlen, limit=2).to(torch.int32),
        "of_sequences": integers(batch, limit=2).to(torch.int32),
        "cos": COS[rows],
        "sin": SIN[rows],
    }


def dynamic_shapes(x: Inputs) -> tuple[dict[str, dict[int, Any]]]:
    """Return the argument of torch.export.export for a model of any batch and sequence length."""
    batch, seqlen = torch.export.Dim("batch", min=1), torch.export.Dim("seqlen", min=1)
    of_tokens = {"row": {1: seqlen}, "flat": {0: seqlen}, "axes": {1: batch, 2: seqlen}}
    of_tokens |= {"of_sequences": {0: batch}}
    return ({name: of_tokens.get(name, {0: batch, 1: seqlen}) for name in x},)


def pairs(x: Tensor, rotary_dim: int, interleaved: bool) -> tuple[Tensor, Tensor]:
    """Return the first and the second channels of the pairs that are rotated."""
    rotated = x[..., :rotary_dim]
    return (rotated[..., 0::2], rotated[..., 1::2]) if interleaved else rotated.chunk(2, -1)


def wrong(case: Case, x: Inputs, got: list[Tensor], **more: Any) -> int:
    """Count the channels that are further from the truth than the table of bounds allows."""
    count = 0
    truth = case.call(x, rk.reference, precision="float64", **more)
    for column, (heads, y, want) in enumerate(zip(case.heads(x), got, truth, strict=True)):
        factor = 1.0
        if case.table is not None:
            bits = case.table.attention_factor_bits[:, column]
            factor = float(bits.view(torch.float32).max())
        split = (case.rotary_dim, case.interleaved)
        first, second = pairs(heads, *split)
        for of_pair, exact in zip(pairs(y, *split), pairs(want, *split), strict=True):
            bound = rk.bounds.rotation_bound(first, second, factor, case.dtype, exact=exact)
            count += int((~((of_pair.double() - exact).abs() <= bound)).sum())
        rest = slice(case.rotary_dim, None)
        count += int((y[..., rest] != heads[..., rest].to(y.dtype)).sum())
    return count
