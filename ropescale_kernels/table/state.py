"""The tensors of a rotary table that kernels read, and the sizes that these tensors imply."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import RopeScaleValueError, expected


class TableTensors(NamedTuple):
    """The tensors of a table, in the one order that operators, kernels and saved tables follow.

    Every tensor is int32; float32 values are held as their bits, so that no cast rounds them.
    """

    # (num_profiles, rotary_dim / 2, 2): low and high words, in 2^-64 turns per token
    turns_per_token: Tensor
    # (num_profiles, rotary_dim / 2): float32 bits, radians per token
    inv_freq_bits: Tensor
    # (num_profiles, 2): float32 bits, for q and for k
    attention_factor_bits: Tensor
    # (rotary_dim / 2,): the position axis of each pair, None if the table has one axis
    axis_ids: Tensor | None = None
    # (num_profiles, rotary_dim / 2): float32 bits, of a dynamic table that blends
    pos_freqs: Tensor | None = None
    # (num_profiles, rotary_dim / 2): float32 bits, of a dynamic table that blends
    ramp: Tensor | None = None
    # (num_profiles,): float32 bits, 0 for a profile that is not blended
    factors: Tensor | None = None


# The tensors that a table has all of, or none.
_BLEND = slice(TableTensors._fields.index("pos_freqs"), None)


class GradLeaves(NamedTuple):
    """The tensors that gradients of a table flow to, None for those that require no grad."""

    inv_freq: Tensor | None = None
    attention_factors: Tensor | None = None


# Saved programs name these arguments, so their names in a schema are frozen.
_SCHEMA_NAMES = {
    "turns_per_token": "steps",
    "attention_factor_bits": "factor_bits",
    "factors": "scales",
    "attention_factors": "factors",
}


def schema_name(name: str) -> str:
    """Return the argument in a schema that holds a field of `TableTensors` or `GradLeaves`."""
    return _SCHEMA_NAMES.get(name, name)


class TableState:
    """The tensors of a table, checked against one another where they come from outside.

    Args:
        tensors: The tensors in the order of `TableTensors`.
        num_axes: Position axes, 0 if the table has no `axis_ids`.
        frequency_dtype: "float64" if `turns_per_token` holds float64 frequencies.
    """

    # The fast call in C++ reads `state` and `sources`, and takes exact tuples only.
    state: tuple[Tensor | None, ...]
    sources: tuple[Tensor | None, Tensor | None] = (None, None)

    def __init__(
        self, tensors: TableTensors, num_axes: int, frequency_dtype: str = "float32"
    ) -> None:
        self.num_axes = num_axes
        self.frequency_dtype = frequency_dtype
        self._take(tensors)

    def _take(self, tensors: TableTensors) -> None:
        self.state = tuple(tensors)
        self.turns_per_token = tensors.turns_per_token
        self.inv_freq_bits = tensors.inv_freq_bits
        self.attention_factor_bits = tensors.attention_factor_bits
        self.axis_ids = tensors.axis_ids
        self.blend: tuple[Tensor, Tensor, Tensor] | None = None
        pos_freqs, ramp, factors = tensors.pos_freqs, tensors.ramp, tensors.factors
        if pos_freqs is not None and ramp is not None and factors is not None:
            self.blend = pos_freqs, ramp, factors
        self.device = self.turns_per_token.device
        self.num_profiles, num_pairs = self.inv_freq_bits.shape
        self.rotary_dim = 2 * num_pairs

    @property
    def tensors(self) -> TableTensors:
        """The tensors under their names."""
        return TableTensors(*self.state)  # type: ignore[arg-type]

    @cached_property
    def dtypes(self) -> tuple[torch.dtype | None, ...]:
        """The dtype of each tensor, None for a tensor that the table lacks."""
        return tuple(None if x is None else x.dtype for x in self.state)

    @property
    def steps(self) -> Tensor:
        """`turns_per_token`, under the name that it has in the operators' schemas."""
        return self.turns_per_token

    @property
    def factor_bits(self) -> Tensor:
        """`attention_factor_bits`, under the name that it has in the operators' schemas."""
        return self.attention_factor_bits

    def check(self) -> None:
        """Check tensors that come from outside, one against the other.

        Raises:
            RopeScaleValueError: A dtype, shape, device or stride; the message names the tensor.
        """
        profiles, pairs = self.num_profiles, self.rotary_dim // 2
        rows = (profiles, pairs)
        # In the order of TableTensors.
        wanted = ((profiles, pairs, 2), rows, (profiles, 2), (pairs,), rows, rows, (profiles,))
        device, words = self.device, torch.int32
        for at, x in enumerate(self.state):
            if x is None:
                continue
            want = wanted[at]
            if x.shape == want and x.dtype is words and x.device == device and x.is_contiguous():
                continue
            name = schema_name(TableTensors._fields[at])
            requirement = f"contiguous int32 {want} on {device}"
            got = f"{x.dtype} {tuple(x.shape)} on {x.device}"
            raise RopeScaleValueError(expected(name, requirement, got))
        if self.blend is None and any(x is not None for x in self.state[_BLEND]):
            raise RopeScaleValueError(
                expected("scales", "pos_freqs, ramp and scales, or none of them", "some")
            )
