"""This package: in place, out of place, and with its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...ops import apply_rotary_cos_sin, apply_rotary_qk, apply_rotary_qk_
from ...ops.implementations import available_impls
from ...table import RotaryTable
from ..cases import WINDOW, Case, Inputs
from ._baseline import Baseline, Call, Pair, float32_table, out_of_place, own


def _table_bytes(case: Case, context: int) -> int:
    table = RotaryTable(case.scaling())
    return sum(part.nbytes for part in table.state if part is not None)


def _prepare_in_place(inputs: Inputs, impl: str = "auto") -> Call:
    # A buffer is rotated again and again. Magnitude "none" keeps its norm.
    steady = RotaryTable(inputs.table.scalings, device=inputs.q.device, magnitude="none")

    def result() -> Pair:
        pair = own(inputs)
        apply_rotary_qk_(*pair, inputs.position_ids, inputs.table, impl=impl)
        return pair

    def bind(q: Tensor, k: Tensor) -> Callable[[], None]:
        return lambda: apply_rotary_qk_(q, k, inputs.position_ids, steady, impl=impl)

    return Call(inputs, bind, result, writes="in place")


def _prepare_given_outputs(inputs: Inputs) -> Call:
    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        out = torch.empty_like(q), torch.empty_like(k)
        return lambda: apply_rotary_qk(q, k, inputs.position_ids, inputs.table, out=out)

    return replace(out_of_place(inputs, bind), writes="given")


def _prepare(inputs: Inputs, **options: Any) -> Call:
    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        return lambda: apply_rotary_qk(q, k, inputs.position_ids, inputs.table, **options)

    return out_of_place(inputs, bind)


def _prepare_interleaved(inputs: Inputs) -> Call:
    pairs = len(inputs.inv_freq)

    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        q, k = _interleave(q, pairs), _interleave(k, pairs)
        return lambda: apply_rotary_qk(q, k, inputs.position_ids, inputs.table, interleaved=True)

    def result() -> Pair:
        q_out, k_out = bind(inputs.q, inputs.k)()
        assert k_out is not None
        return _halve(q_out, pairs), _halve(k_out, pairs)

    return Call(inputs, bind, result)


def _interleave(x: Tensor, pairs: int) -> Tensor:
    """Return x with channels (j, j + pairs) at (2j, 2j + 1); others keep their place."""
    rotated = torch.stack((x[..., :pairs], x[..., pairs : 2 * pairs]), dim=-1).flatten(-2)
    return torch.cat((rotated, x[..., 2 * pairs :]), dim=-1)


def _halve(x: Tensor, pairs: int) -> Tensor:
    """Return x with the channels that `_interleave` moved back in their places."""
    end = 2 * pairs
    return torch.cat((x[..., 0:end:2], x[..., 1:end:2], x[..., end:]), dim=-1)


def _prepare_profiles(inputs: Inputs) -> Call:
    # Four equal scalings keep the answer of the case; the kernel cannot know that they are equal.
    table = RotaryTable([inputs.case.scaling()] * 4, device=inputs.q.device)
    tokens = torch.arange(inputs.case.tokens, dtype=torch.int32, device=inputs.q.device)
    profile_ids = (tokens % 4).view(inputs.position_ids.shape)

    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        return lambda: apply_rotary_qk(q, k, inputs.position_ids, table, profile_ids=profile_ids)

    return out_of_place(inputs, bind)


def _prepare_dynamic(inputs: Inputs) -> Call:
    table = RotaryTable(inputs.case.scaling(), device=inputs.q.device, dynamic=True)
    # A length of four windows gives factor 4, the factor of the static table.
    table.update_(torch.tensor([4 * WINDOW], device=inputs.q.device))

    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        return lambda: apply_rotary_qk(q, k, inputs.position_ids, table)

    return out_of_place(inputs, bind)


def _prepare_given(inputs: Inputs) -> Call:
    cos, sin = float32_table(inputs, inputs.attention_factor)
    rows = inputs.row_ids
    rotary_dim = inputs.case.rotary_dim

    def bind(q: Tensor, k: Tensor) -> Callable[[], Pair]:
        return lambda: apply_rotary_cos_sin(q, k, cos, sin, rows, rotary_dim=rotary_dim)

    return out_of_place(inputs, bind)


def _given_bytes(case: Case, context: int) -> int:
    return 4 * context * case.rotary_dim


IN_PLACE = Baseline("ours, in place", _prepare_in_place, table_bytes=_table_bytes)
GIVEN_OUTPUTS = Baseline("ours, out=", _prepare_given_outputs, table_bytes=_table_bytes)
OUT_OF_PLACE = Baseline("ours", _prepare, table_bytes=_table_bytes)
# Timed beside the CUDA kernels, because "auto" takes those on a device.
TRITON = Baseline(
    "ours, Triton in place",
    partial(_prepare_in_place, impl="triton"),
    unavailable=lambda device: available_impls()["triton"],
    table_bytes=_table_bytes,
)
OPTIONS = (
    Baseline("ours, interleaved", _prepare_interleaved, table_bytes=_table_bytes),
    Baseline("ours, phase float32", partial(_prepare, phase="float32"), table_bytes=_table_bytes),
    Baseline("ours, 4 profiles", _prepare_profiles, table_bytes=_table_bytes),
    Baseline("ours, dynamic table", _prepare_dynamic, table_bytes=_table_bytes),
    Baseline("ours, given cos and sin", _prepare_given, table_bytes=_given_bytes),
)
