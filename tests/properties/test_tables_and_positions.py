"""Hypothesis over tables, and over the layout of positions and profiles, into guarded memory.

The layouts of q and k are drawn in tests/properties/test_rotation.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import ropescale_kernels as rk
from tools.contract.draws import DTYPES

SameBits = Callable[..., None]
CANARY = 91
HALF = 10
# Where 32-bit words, the integers of float32 and int64 end.
EDGES = [0, 7919, 2**24 - 1, 2**24 + 1, 2**31 - 1, -(2**31), 2**32, 2**34, -1, 2**63 - 1, -(2**63)]
SECTIONS: list[tuple[list[int], bool]] = [
    ([4, 3, 3], False),
    ([4, 3, 3], True),
    ([5, 5], False),
    ([0, 6, 4], False),
]


class Guarded:
    """Rows of a tensor apart from one another, in a buffer whose other elements are canaries."""

    def __init__(self, values: Tensor, gap: int, offset: int) -> None:
        width = values.shape[-1] + gap
        rows = values.numel() // values.shape[-1]
        self.buffer = torch.full((2 * offset + rows * width + 8,), CANARY, dtype=values.dtype)
        strides = [1]
        for size in reversed(values.shape[1:]):
            strides.insert(0, strides[0] * size if len(strides) > 1 else width)
        self.view = self.buffer.as_strided(values.shape, strides, offset)
        self.view.copy_(values)

    def canaries_alive(self) -> bool:
        inside = torch.zeros(len(self.buffer), dtype=torch.bool)
        inside.as_strided(self.view.shape, self.view.stride(), self.view.storage_offset())[:] = True
        return bool((self.buffer[~inside] == CANARY).all())


def scalings_of(kind: int) -> list[rk.RopeScaling]:
    section, turns = SECTIONS[kind] if kind < len(SECTIONS) else (None, False)
    shared: dict[str, Any] = {"mrope_section": section, "mrope_interleaved": turns}
    yarn: dict[str, Any] = {
        "factor": 4.0,
        "original_max_position_embeddings": 4096,
        "rope_theta": 1e6,
    }
    return [
        rk.RopeScaling.yarn(rotary_dim=2 * HALF, **yarn, **shared),
        rk.RopeScaling.default(rotary_dim=2 * HALF, rope_theta=1e4, **shared),
        rk.RopeScaling.dynamic_ntk(
            rotary_dim=2 * HALF,
            rope_theta=1e4,
            factor=2.0,
            max_position_embeddings=2048,
            **shared,
        ),
    ]


CASE = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 2),
        "seqlen": st.integers(1, 3),
        "kind": st.integers(0, len(SECTIONS)),
        "lengths": st.none() | st.lists(st.integers(1, 10**7), min_size=3, max_size=3),
        "profiles": st.sampled_from(["none", "token", "batch", "one row", "row"]),
        "ids": st.lists(st.integers(-1, 3) | st.just(2**31 - 1), min_size=6, max_size=6),
        "axes": st.booleans(),
        "shape": st.sampled_from(["full", "one row", "row"]),
        "int32": st.booleans(),
        "gap": st.integers(0, 3),
        "offset": st.integers(0, 5),
        "dtype": st.sampled_from(DTYPES),
        "magnitude": st.sampled_from(["both", "query", "none"]),
        "interleaved": st.booleans(),
        "conjugate": st.booleans(),
        "phase": st.sampled_from(["exact", "float32"]),
        "positions": st.lists(
            st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1), min_size=18, max_size=18
        ),
        "seed": st.integers(0, 2**16),
    }
)


def positions_of(case: dict[str, Any], num_axes: int) -> Tensor:
    tokens = {
        "full": (case["batch"], case["seqlen"]),
        "one row": (1, case["seqlen"]),
        "row": (case["seqlen"],),
    }[case["shape"]]
    shape = tokens
    if num_axes and case["axes"]:
        # A leading axis over (seqlen,) would read as (batch, seqlen).
        shape = (num_axes, *tokens) if len(tokens) == 2 else (num_axes, 1, *tokens)
    values = torch.tensor(case["positions"][: math.prod(shape)])
    # The low word of an int64, as int32: any bits are a position.
    return (values.int() if case["int32"] else values).view(shape)


# The fixture is entered once for all examples, which is right: it holds an instruction set.
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=CASE)
def test_any_table_any_positions(
    exact_impl: str, same_bits: SameBits, case: dict[str, Any]
) -> None:
    table = rk.RotaryTable(
        scalings_of(case["kind"]),
        dynamic=case["lengths"] is not None,
        magnitude=case["magnitude"],
    )
    if case["lengths"] is not None:
        table.update_(torch.tensor(case["lengths"]))
    batch, seqlen = case["batch"], case["seqlen"]
    ids = None
    if case["profiles"] != "none":
        shape = {"token": (batch, seqlen), "batch": (batch,), "one row": (1, seqlen)}.get(
            case["profiles"], (seqlen,)
        )
        ids = torch.tensor(case["ids"][: math.prod(shape)], dtype=torch.int32).view(shape)
    generator = torch.Generator().manual_seed(case["seed"])
    gap, offset = case["gap"], case["offset"]
    inputs = [
        Guarded(torch.randn(batch, seqlen, n, 23, generator=generator).to(case["dtype"]), *where)
        for n, where in ((3, (gap, offset)), (1, (0, 0)))
    ]
    poison = [Guarded(torch.full_like(x.view, math.nan), gap, offset) for x in inputs]
    indices = [
        Guarded(x, gap, offset) for x in (positions_of(case, table.num_axes), ids) if x is not None
    ]
    positions, profiles = indices[0].view, indices[1].view if ids is not None else None
    flags: dict[str, Any] = {name: case[name] for name in ("interleaved", "conjugate", "phase")}
    q, k = (x.view for x in inputs)
    want = rk.apply_rotary_qk(
        q, k, positions, table, profile_ids=profiles, impl="reference", **flags
    )
    options: dict[str, Any] = {"profile_ids": profiles, "impl": exact_impl, **flags}
    outputs = poison[0].view, poison[1].view
    rk.apply_rotary_qk(q, k, positions, table, out=outputs, **options)
    same_bits(outputs, want)
    rk.apply_rotary_qk_(q, k, positions, table, **options)
    same_bits((q, k), want)
    assert all(x.canaries_alive() for x in (*inputs, *poison, *indices))
