"""A contender of the bench, the call it makes, and the check of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from ..cases import Case, Inputs

Pair = tuple[Tensor, Tensor | None]
Bind = Callable[[Tensor, Tensor], Callable[[], object]]


@dataclass(frozen=True)
class Call:
    """A contender's call on the tensors of a case.

    Attributes:
        inputs: The case's tensors.
        bind: Returns the call that is timed, for a q and a k in the case's layout. The call is made
            as users make it. Everything they keep between calls (tables, sessions, outputs if the
            API takes them) is made before.
        result: Returns q and k rotated once, `(batch, seqlen, nheads, head_dim)` as the inputs are,
            for the check of the answer. None for a copy bound, which rotates nothing.
        writes: Place of the output: "in place", in the input; "given", in buffers that the caller
            made; "fresh", in buffers that the call allocates. It selects the copy bound that the
            time is divided by.
    """

    inputs: Inputs
    bind: Bind
    result: Callable[[], Pair] | None
    writes: Literal["in place", "given", "fresh"] = "fresh"

    @cached_property
    def run(self) -> Callable[[], object]:
        """Return the call on the case's q and k, or on copies of them if it writes in place."""
        if self.writes == "in place":
            return self.on_own_buffers()
        return self.bind(self.inputs.q, self.inputs.k)

    def on_own_buffers(self) -> Callable[[], object]:
        """Return the call on a q and a k that no other call reads or writes."""
        return self.bind(*own(self.inputs))


@dataclass(frozen=True)
class Baseline:
    """A contender of the bench: a row of each case that it can serve.

    Attributes:
        name: Name in tables and in reports.
        prepare: Returns the call on a case's tensors.
        unavailable: Returns the reason it cannot run on a device at all (a missing package, no
            GPU), or None. Imports the package.
        unsupported: Returns the reason it cannot serve a case, or None.
        table_bytes: Returns the bytes kept between calls for a window of `context` positions: cos
            and sin, or frequencies.
        version: Returns the version of its package, or None for torch and this package.
    """

    name: str
    prepare: Callable[[Inputs], Call]
    unavailable: Callable[[torch.device], str | None] = lambda device: None
    unsupported: Callable[[Case], str | None] = lambda case: None
    table_bytes: Callable[[Case, int], int] = lambda case, context: 0
    version: Callable[[], str | None] = lambda: None


def error_against(result: Pair, truth: Pair) -> float:
    """Return the largest absolute difference of q and k from the truth; NaN counts as infinite."""
    worst = 0.0
    for x, y in zip(result, truth, strict=True):
        if x is not None and y is not None:
            worst = max(worst, float((x.double() - y).abs().nan_to_num(nan=float("inf")).max()))
    return worst


def is_same_rotation(result: Pair, truth: Pair) -> bool:
    """Return whether q and k are the right rotation, apart from rounding and a drifting angle.

    ||x - truth|| / ||truth|| is below 1e-2 for a rounded answer, about 0.1 for a float32 angle at a
    million, and about 1 for a wrong pairing, a wrong direction or rows that are off.
    """
    for x, y in zip(result, truth, strict=True):
        if x is None or y is None or x.shape != y.shape:
            return x is y
        if not float((x.double() - y).norm()) <= 0.3 * float(y.norm()):
            return False
    return True


def float64_reference(inputs: Inputs) -> Pair:
    """Return q and k rotated in float64; the angle at position 10^7 is exact to 2e-9."""
    angle = inputs.position_ids.double()[..., None] * inputs.inv_freq.double()
    cos = (angle.cos() * inputs.attention_factor).unsqueeze(-2)
    sin = (angle.sin() * inputs.attention_factor).unsqueeze(-2)
    pairs = len(inputs.inv_freq)

    def rotate(x: Tensor) -> Tensor:
        x = x.double()
        x0, x1, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
        return torch.cat([x0 * cos - x1 * sin, x1 * cos + x0 * sin, rest], dim=-1)

    return rotate(inputs.q), rotate(inputs.k)


def own(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Return copies of q and k in the case's own layout, slices of one packed buffer included."""
    q, k = inputs.q, inputs.k
    if inputs.case.layout != "packed-qkv":
        return q.clone(), k.clone()
    heads = [inputs.case.nheads, inputs.case.nheads_k, inputs.case.nheads_k]
    packed = torch.empty(*q.shape[:2], sum(heads), q.shape[-1], dtype=q.dtype, device=q.device)
    q_own, k_own, _ = torch.split(packed, heads, dim=2)
    return q_own.copy_(q), k_own.copy_(k)


def out_of_place(inputs: Inputs, bind: Callable[[Tensor, Tensor], Callable[[], Pair]]) -> Call:
    """Return the call of a contender that returns new tensors shaped as the inputs are."""
    return Call(inputs, bind, lambda: bind(inputs.q, inputs.k)())


def prepare_in_place(
    inputs: Inputs, bind: Callable[[Tensor, Tensor, float], Callable[[], object]]
) -> Call:
    """Return the call of a contender that writes its output into its input.

    The call is timed with an attention factor of 1. The same buffer is rotated again and again, so
    another factor would end in infinities.

    Args:
        inputs: The case's tensors.
        bind: Returns the call on a q and a k, with tables of an attention factor.
    """

    def result() -> Pair:
        pair = own(inputs)
        bind(*pair, inputs.attention_factor)()
        return pair

    return Call(inputs, lambda q, k: bind(q, k, 1.0), result, writes="in place")


def float32_table(inputs: Inputs, attention_factor: float) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the float32 angle, as engines tabulate them; (rows, pairs) float32."""
    angle = inputs.rows.float()[:, None] * inputs.inv_freq
    return angle.cos() * attention_factor, angle.sin() * attention_factor


def inv_freq_bytes(case: Case, context: int) -> int:
    """Return the bytes of float32 frequencies, kept if each forward computes cos and sin anew."""
    return 2 * case.rotary_dim


def package_version(name: str) -> Any:
    """Return the version of a distribution, or None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
