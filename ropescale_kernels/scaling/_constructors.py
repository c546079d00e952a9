"""The named constructors of `RopeScaling`, one per rule: they check and document its parameters.

The three rules that blend through a ramp are in `_blend_constructors`.

All of them take keywords only, under the names of Hugging Face configs, and two more that every
rule shares: `mrope_section`, the pairs that each axis of a multimodal position rotates (a list of
integers that sum to rotary_dim / 2, or None), and `mrope_interleaved`, whether the axes alternate
from pair to pair instead of forming bands. `rotary_dim` is even, from 2 to 512.

Every constructor raises `RopeScaleConfigError` for a value that describes no valid scaling and
`RopeScaleTypeError` for a tensor where a Python number is required.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from ..errors import RopeScaleConfigError, expected
from . import rules
from . import validate as check
from .parameters import Parameters

S = TypeVar("S", bound="Constructors")


def base_parameters(
    rope_type: str,
    rotary_dim: object,
    rope_theta: object,
    mrope_section: object,
    mrope_interleaved: object,
    smallest_dim: int = 2,
) -> Parameters:
    """Return the parameters that every rule shares, checked."""
    dim = check.dimension("rotary_dim", rotary_dim, smallest_dim)
    return Parameters(
        rope_type=rope_type,
        rotary_dim=dim,
        frequency_dim=dim,
        rope_theta=check.theta(rope_theta),
        mrope_section=check.mrope_section(mrope_section, dim),
        mrope_interleaved=check.flag("mrope_interleaved", mrope_interleaved)
        and mrope_section is not None,
    )


def optional_positive(name: str, value: object) -> float | None:
    """Return a positive number or None, checked."""
    return None if value is None else check.positive(name, value)


def optional_length(name: str, value: object, low: int = 1) -> int | None:
    """Return a number of tokens or None, checked."""
    return None if value is None else check.length(name, value, low)


class Constructors(ABC):
    """One classmethod per rule that is no blend; `RopeScaling` adds what the results can do."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def _from_parameters(cls: type[S], parameters: Parameters) -> S: ...

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
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: arXiv:2104.09864, eq. 15; `rope_type: default`.
        """
        return cls._from_parameters(
            base_parameters("default", rotary_dim, rope_theta, mrope_section, mrope_interleaved)
        )

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
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: arXiv:2306.15595; `rope_type: linear`.
        """
        base = base_parameters("linear", rotary_dim, rope_theta, mrope_section, mrope_interleaved)
        return cls._from_parameters(dataclasses.replace(base, factor=check.scale_factor(factor)))

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
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: arXiv:2309.00071, eq. 16; Transformers has no such rule.
        """
        base = base_parameters("ntk", rotary_dim, rope_theta, mrope_section, mrope_interleaved, 4)
        return cls._from_parameters(dataclasses.replace(base, factor=check.scale_factor(factor)))

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
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: arXiv:2309.00071, app. B.1; `rope_type: dynamic`.
        """
        base = base_parameters(
            "dynamic", rotary_dim, rope_theta, mrope_section, mrope_interleaved, 4
        )
        return cls._from_parameters(
            dataclasses.replace(
                base,
                factor=check.scale_factor(factor),
                max_position_embeddings=check.length(
                    "max_position_embeddings", max_position_embeddings
                ),
                seq_len=optional_length("seq_len", seq_len, low=0),
            )
        )

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
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: `rope_type: llama3`.
        """
        base = base_parameters("llama3", rotary_dim, rope_theta, mrope_section, mrope_interleaved)
        low = check.positive("low_freq_factor", low_freq_factor)
        high = check.positive("high_freq_factor", high_freq_factor)
        if high < low:
            requirement = f"a number of at least low_freq_factor={low!r}"
            raise RopeScaleConfigError(expected("high_freq_factor", requirement, high))
        return cls._from_parameters(
            dataclasses.replace(
                base,
                factor=check.scale_factor(factor),
                original_max_position_embeddings=check.length(
                    "original_max_position_embeddings", original_max_position_embeddings
                ),
                low_freq_factor=low,
                high_freq_factor=high,
            )
        )

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
            max_position_embeddings: Gives `factor` as its ratio to L where that is None.
            attention_factor: What multiplies cos and sin, replacing the formula.
            seq_len: Length in tokens; None counts as short.
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: arXiv:2402.13753; `rope_type: longrope`.
        """
        base = base_parameters("longrope", rotary_dim, rope_theta, mrope_section, mrope_interleaved)
        half = base.rotary_dim // 2
        length = check.length(
            "original_max_position_embeddings", original_max_position_embeddings, low=2
        )
        longest = optional_length("max_position_embeddings", max_position_embeddings)
        scale: object = factor
        if scale is None and longest is not None:
            scale = longest / length
        if scale is None and attention_factor is None:
            requirement = "a number, or max_position_embeddings or attention_factor in its place"
            raise RopeScaleConfigError(expected("factor", requirement, None))
        return cls._from_parameters(
            dataclasses.replace(
                base,
                factor=1.0 if scale is None else check.scale_factor(scale),
                original_max_position_embeddings=length,
                short_factor=check.channel_factors("short_factor", short_factor, half),
                long_factor=check.channel_factors("long_factor", long_factor, half),
                attention_factor=optional_positive("attention_factor", attention_factor),
                seq_len=optional_length("seq_len", seq_len, low=0),
            )
        )

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
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: `rope_type: proportional`.
        """
        base = base_parameters(
            "proportional", rotary_dim, rope_theta, mrope_section, mrope_interleaved
        )
        share = check.proportion("partial_rotary_factor", partial_rotary_factor)
        if rules.turning_pairs(base.rotary_dim, share) < 1:
            requirement = f"a share that turns at least one of {base.rotary_dim // 2} pairs"
            raise RopeScaleConfigError(expected("partial_rotary_factor", requirement, share))
        return cls._from_parameters(
            dataclasses.replace(
                base, factor=check.scale_factor(factor), partial_rotary_factor=share
            )
        )
