"""What the kernels read of a rotary table: flat integer tensors, and the sizes they imply."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import RopeScaleValueError, expected

# Steps, inv_freq, factors, axis_ids, and of a blend pos_freqs, ramp, scales.
State = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class TableState:
    """Tensors of a table, in the order in which operators and kernels take them.

    Args:
        state: `steps` int32 `(num_profiles, rotary_dim / 2, 2)`, the low and high words of turns
            per token; `inv_freq` and `factors`, float32 as int32 bits, `(num_profiles,
            rotary_dim / 2)` and `(num_profiles, 2)` for q and k; `axis_ids` int32
            `(rotary_dim / 2,)` or None; and of a dynamic table that blends, as bits, `pos_freqs`,
            `ramp` `(num_profiles, rotary_dim / 2)` and `scales` `(num_profiles,)`.
        num_axes: Position axes, 0 where there is no `axis_ids`.
        exact_source: "float64" where the steps are of float64 frequencies.
    """

    # What gradients of inv_freq and factors would flow to.
    sources: tuple[Tensor | None, Tensor | None] = (None, None)
    NAMES = ("steps", "inv_freq_bits", "factor_bits", "axis_ids", "pos_freqs", "ramp", "scales")

    def __init__(self, state: State, num_axes: int, exact_source: str = "float32") -> None:
        self.num_axes = num_axes
        self.exact_source = exact_source
        self._take(state)

    def _take(self, state: State) -> None:
        self.state = state
        self.kinds = tuple(None if x is None else x.dtype for x in state)
        self.steps, self.inv_freq_bits, self.factor_bits, self.axis_ids, *blend = state
        pos_freqs, ramp, scales = blend
        self.blend: tuple[Tensor, Tensor, Tensor] | None = None
        if pos_freqs is not None and ramp is not None and scales is not None:
            self.blend = pos_freqs, ramp, scales
        self.device = self.steps.device
        self.num_profiles, num_pairs = self.inv_freq_bits.shape
        self.rotary_dim = 2 * num_pairs

    def check(self) -> None:
        """Check tensors that come from outside, one against the other.

        Raises:
            RopeScaleValueError: A dtype, shape, device or stride; the message names the tensor.
        """
        profiles, pairs = self.num_profiles, self.rotary_dim // 2
        per_pair = (profiles, pairs)
        wanted = (
            (*per_pair, 2),
            per_pair,
            (profiles, 2),
            (pairs,),
            per_pair,
            per_pair,
            (profiles,),
        )
        for name, x, want in zip(self.NAMES, self.state, wanted, strict=True):
            if x is None:
                continue
            got = tuple(x.shape), x.dtype, x.device
            if got != (want, torch.int32, self.device) or not x.is_contiguous():
                words = f"contiguous int32 {want} on {self.device}"
                raise RopeScaleValueError(expected(name, words, f"{x.dtype} {got[0]} on {got[2]}"))
        if len({x is None for x in self.state[4:]}) > 1:
            raise RopeScaleValueError(
                expected("scales", "pos_freqs, ramp and scales, or none of them", "some")
            )
