"""The operators of this package: one dataclass each, whose fields are the arguments in order."""

# Each field is declared by a call that returns a dataclass field.
# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from ..table.mrope import axis_of_each_pair, sections_of
from ..table.state import TableState
from .kinds import Call, Kind, Output, argument, operator


@operator
@dataclass(slots=True)
class RotaryQKSpec(Call):
    """One checked call of `apply_rotary_qk`; `q_out`, `k_out` None until they are allocated."""

    NAME: ClassVar[str] = "rotary_qk"
    # The second output is empty if k is None.
    OUTPUTS: ClassVar[tuple[Output, ...]] = (Output("q"), Output("k"))

    q: Tensor = argument(Kind.HEADS)
    k: Tensor | None = argument(Kind.HEADS, optional=True)
    position_ids: Tensor = argument(Kind.TOKENS, lead="axes")
    profile_ids: Tensor | None = argument(
        Kind.TOKENS, optional=True, by_sequence=True, dtypes=(torch.int32,)
    )
    table: TableState = argument(Kind.TABLE, leaves=True)
    interleaved: bool = argument(Kind.FLAG)
    conjugate: bool = argument(Kind.FLAG, is_adjoint=True)
    phase_float32: bool = argument(Kind.FLAG)
    impl: str = argument(Kind.TEXT, initial="auto")
    _: KW_ONLY
    q_out: Tensor | None = None
    k_out: Tensor | None = None
    # Whether raw pointers give all there is to the inputs; None until somebody has looked.
    is_plain: bool | None = None

    @property
    def rotary_dim(self) -> int:
        """Channels rotated."""
        return self.table.rotary_dim


@operator
@dataclass(slots=True)
class RotaryQKInPlaceSpec(RotaryQKSpec):
    """One call of `apply_rotary_qk_`, which writes q and k."""

    NAME: ClassVar[str] = "rotary_qk_"
    OUT_OF_PLACE: ClassVar[str] = "apply_rotary_qk"
    OUTPUTS: ClassVar[tuple[Output, ...]] = ()

    q: Tensor = argument(Kind.HEADS, written=True)
    k: Tensor | None = argument(Kind.HEADS, optional=True, written=True)
    table: TableState = argument(Kind.TABLE)


@operator
@dataclass(slots=True)
class RotaryQKScalingGradSpec(Call):
    """One call of the gradients of inv_freq and of the attention factors."""

    NAME: ClassVar[str] = "rotary_qk_scaling_grad"
    OUTPUTS: ClassVar[tuple[Output, ...]] = (
        # (num_profiles, rotary_dim / 2)
        Output("inv_freq_bits", dtype=torch.float32, gradient="inv_freq"),
        # (num_profiles, 2)
        Output("attention_factor_bits", dtype=torch.float32, gradient="attention_factors"),
    )

    grad_q: Tensor = argument(Kind.HEADS, gradient="q")
    grad_k: Tensor | None = argument(Kind.HEADS, optional=True, gradient="k")
    q: Tensor = argument(Kind.HEADS)
    k: Tensor | None = argument(Kind.HEADS, optional=True)
    position_ids: Tensor = argument(Kind.TOKENS, lead="axes")
    profile_ids: Tensor | None = argument(
        Kind.TOKENS, optional=True, by_sequence=True, dtypes=(torch.int32,)
    )
    table: TableState = argument(Kind.TABLE)
    interleaved: bool = argument(Kind.FLAG)
    conjugate: bool = argument(Kind.FLAG)
    phase_float32: bool = argument(Kind.FLAG)
    impl: str = argument(Kind.TEXT)


@operator
@dataclass(slots=True)
class RotaryCosSinSpec(Call):
    """One checked call of `apply_rotary_cos_sin`."""

    NAME: ClassVar[str] = "rotary_cos_sin"
    OUTPUTS: ClassVar[tuple[Output, ...]] = (Output("q"), Output("k"))

    q: Tensor = argument(Kind.HEADS)
    k: Tensor | None = argument(Kind.HEADS, optional=True)
    # Any last stride; rotary_dim / 2 values a row, or rotary_dim of which the first half is read.
    cos: Tensor = argument(Kind.ROWS, row_index="position_ids", row_axes="mrope_section")
    sin: Tensor = argument(Kind.ROWS, row_index="position_ids", row_axes="mrope_section")
    position_ids: Tensor | None = argument(Kind.TOKENS, optional=True)
    rotary_dim: int = argument(Kind.NUMBER)
    interleaved: bool = argument(Kind.FLAG)
    conjugate: bool = argument(Kind.FLAG, is_adjoint=True)
    impl: str = argument(Kind.TEXT, initial="auto")
    mrope_section: tuple[int, ...] | None = argument(Kind.NUMBERS, optional=True, default=None)
    mrope_interleaved: bool = argument(Kind.FLAG, default=False)
    _: KW_ONLY
    q_out: Tensor | None = None
    k_out: Tensor | None = None
    is_plain: bool | None = None

    @property
    def order(self) -> str:
        """The order of a row's values: "half", or "doubled"."""
        return "doubled" if self.cos.shape[-1] == self.rotary_dim else "half"

    @property
    def sections(self) -> tuple[range, ...] | None:
        """The pairs of each M-RoPE axis after the first; None if rows have no axes."""
        if self.mrope_section is None:
            return None
        return sections_of(self.mrope_section, self.mrope_interleaved, self.rotary_dim // 2)

    @property
    def axis_ids(self) -> bytes | None:
        """The M-RoPE axis of each pair, a byte each; None if rows have no axes."""
        if self.mrope_section is None:
            return None
        return _axis_ids(self.mrope_section, self.mrope_interleaved, self.rotary_dim // 2)


@lru_cache(maxsize=64)
def _axis_ids(section: tuple[int, ...], interleaved: bool, num_pairs: int) -> bytes:
    return bytes(axis_of_each_pair(section, interleaved, num_pairs))


Spec = RotaryQKSpec | RotaryCosSinSpec
