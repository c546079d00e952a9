"""The named constructors of `RopeScaling`, one per rule: they document its parameters.

The files of `rules` check the parameters. The three rules that blend through a ramp have their
constructors in `blend_constructors`.

All of them take keywords only, under the names of Hugging Face configs. `rotary_dim` is even, from
2 to 512.

Every constructor raises `RopeScaleConfigError` for a value that describes no valid scaling and
`RopeScaleTypeError` for a tensor where a Python number is required.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from .parameters import Parameters
from .rules import RULES

S = TypeVar("S", bound="Constructors")


class Constructors(ABC):
    """One classmethod per rule that is no blend."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def _from_parameters(cls: type[S], parameters: Parameters) -> S: ...

    @classmethod
    def _from_rule(cls: type[S], rope_type: str, arguments: Mapping[str, Any]) -> S:
        """Return the scaling of a constructor's local variables: `cls` and the keywords."""
        keys = {name: value for name, value in arguments.items() if name != "cls"}
        return cls._from_parameters(RULES[rope_type].parameters(**keys))

    @classmethod
    def default(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build RoPE without scaling: `inv_freq = theta ** (-2 j / D)`.

        Args:
            rotary_dim: D, rotated channels.
            rope_theta: Base of the frequencies, above 1.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: arXiv:2104.09864, eq. 15; `rope_type: default`.
        """
        return cls._from_rule("default", locals())

    @classmethod
    def linear(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        factor: float,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build position interpolation: every frequency divided by `factor`.

        Args:
            rotary_dim: D, rotated channels.
            rope_theta: Base of the frequencies, above 1.
            factor: Context extension factor, at least 1.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: arXiv:2306.15595; `rope_type: linear`.
        """
        return cls._from_rule("linear", locals())

    @classmethod
    def ntk(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        factor: float,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build NTK-aware scaling: the base becomes `theta * factor ** (D / (D - 2))`.

        Args:
            rotary_dim: D, rotated channels, at least 4.
            rope_theta: Base of the frequencies, above 1.
            factor: Context extension factor, at least 1.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: arXiv:2309.00071, eq. 16; Transformers has no such rule.
        """
        return cls._from_rule("ntk", locals())

    @classmethod
    def dynamic_ntk(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        factor: float,
        max_position_embeddings: int,
        seq_len: int | None = None,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build dynamic NTK: the base grows with the length n once n passes n0.

        The base is `theta * (factor * n / n0 - (factor - 1)) ** (D / (D - 2))`, computed from a
        Python integer n as `ROPE_INIT_FUNCTIONS` does from one.

        Args:
            rotary_dim: D, rotated channels, at least 4.
            rope_theta: Base of the frequencies, above 1.
            factor: Strength of the growth, at least 1.
            max_position_embeddings: n0, tokens; in dialect hf it is this key that counts.
            seq_len: n, tokens; None stands for n0.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: arXiv:2309.00071, app. B.1; `rope_type: dynamic`.
        """
        return cls._from_rule("dynamic", locals())

    @classmethod
    def llama3(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        factor: float,
        original_max_position_embeddings: int,
        low_freq_factor: float = 1.0,
        high_freq_factor: float = 4.0,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build the Llama 3.1 rule: low frequencies divided, high ones kept, smooth between.

        Args:
            rotary_dim: D, rotated channels.
            rope_theta: Base of the frequencies, above 1.
            factor: Context extension factor, at least 1.
            original_max_position_embeddings: L, tokens of pretraining.
            low_freq_factor: Turns over L tokens below which a frequency is divided.
            high_freq_factor: Turns over L tokens above which a frequency is kept; where it equals
                low_freq_factor, nothing lies between.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: `rope_type: llama3`.
        """
        return cls._from_rule("llama3", locals())

    @classmethod
    def longrope(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        short_factor: Sequence[float],
        long_factor: Sequence[float],
        original_max_position_embeddings: int,
        factor: float | None = None,
        max_position_embeddings: int | None = None,
        attention_factor: float | None = None,
        seq_len: int | None = None,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build LongRoPE: every pair divided by a factor of its own.

        Args:
            rotary_dim: D, rotated channels.
            rope_theta: Base of the frequencies, above 1.
            short_factor: D / 2 positive numbers, for lengths up to L.
            long_factor: D / 2 positive numbers, for lengths above L.
            original_max_position_embeddings: L, tokens of pretraining, at least 2.
            factor: Context extension factor of the attention factor sqrt(1 + ln(s) / ln(L)).
            max_position_embeddings: The longest length, tokens. Its ratio to L is the factor if
                `factor` is None.
            attention_factor: Attention factor: multiplies cos and sin, in place of the formula.
            seq_len: Length in tokens; None counts as short.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: arXiv:2402.13753; `rope_type: longrope`.
        """
        return cls._from_rule("longrope", locals())

    @classmethod
    def proportional(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        partial_rotary_factor: float = 1.0,
        factor: float = 1.0,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build proportional RoPE: only the first share of the pairs turns.

        Unlike a partial rotation, the exponent counts the whole head and the attention layout does
        not change: the remaining pairs have frequency 0.

        Args:
            rotary_dim: D, channels of the head.
            rope_theta: Base of the frequencies, above 1.
            partial_rotary_factor: Share of the pairs that turn, in (0, 1]; at least one pair.
            factor: Divides every frequency, at least 1.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: `rope_type: proportional`.
        """
        return cls._from_rule("proportional", locals())
