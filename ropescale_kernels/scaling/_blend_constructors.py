"""The named constructors of the rules that blend through YaRN's ramp.

`_constructors` says what all constructors share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..errors import RopeScaleConfigError, expected
from . import validate as check
from ._constructors import Constructors, S, base_parameters, optional_length, optional_positive
from .parameters import Parameters


def _blend(
    base: Parameters,
    factor: float,
    original_max_position_embeddings: object,
    beta_fast: object,
    beta_slow: object,
    truncate: object,
) -> Parameters:
    fast, slow = check.positive("beta_fast", beta_fast), check.positive("beta_slow", beta_slow)
    if fast < slow:
        hint = "The two look swapped."
        requirement = f"a number of at least beta_slow={slow!r}"
        raise RopeScaleConfigError(expected("beta_fast", requirement, fast, hint))
    return dataclasses.replace(
        base,
        factor=factor,
        original_max_position_embeddings=check.length(
            "original_max_position_embeddings", original_max_position_embeddings
        ),
        beta_fast=fast,
        beta_slow=slow,
        truncate=check.flag("truncate", truncate),
    )


def _magnitude(
    base: Parameters, attention_factor: object, mscale: object, mscale_all_dim: object
) -> Parameters:
    # Negative mscales would let the ratio of the two pass through zero at some factor.
    def optional(name: str, value: object) -> float | None:
        return None if value is None else check.non_negative(name, value)

    return dataclasses.replace(
        base,
        attention_factor=optional_positive("attention_factor", attention_factor),
        mscale=optional("mscale", mscale),
        mscale_all_dim=optional("mscale_all_dim", mscale_all_dim),
    )


class BlendConstructors(Constructors):
    """One classmethod per rule that is a blend."""

    __slots__ = ()

    @classmethod
    def ntk_by_parts(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        factor: float,
        original_max_position_embeddings: int,
        beta_fast: float = 32.0,
        beta_slow: float = 1.0,
        truncate: bool = True,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build NTK-by-parts: YaRN's frequencies with an attention factor of 1.

        Args:
            rotary_dim: D, rotated channels.
            rope_theta: Base of the frequencies, above 1.
            factor: Context extension factor s, at least 1.
            original_max_position_embeddings: L, tokens of pretraining.
            beta_fast: Turns over L tokens from which a frequency is kept.
            beta_slow: Turns over L tokens up to which a frequency is divided.
            truncate: Whether to widen the ramp to whole pairs.
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: arXiv:2309.00071, eq. 17-21.
        """
        base = base_parameters(
            "ntk_by_parts", rotary_dim, rope_theta, mrope_section, mrope_interleaved
        )
        scale, length = check.scale_factor(factor), original_max_position_embeddings
        return cls._from_parameters(_blend(base, scale, length, beta_fast, beta_slow, truncate))

    @classmethod
    def yarn(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        factor: float,
        original_max_position_embeddings: int,
        beta_fast: float = 32.0,
        beta_slow: float = 1.0,
        attention_factor: float | None = None,
        mscale: float | None = None,
        mscale_all_dim: float | None = None,
        truncate: bool = True,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build YaRN: `inv_freq = (1 - ramp) / pos_freqs + ramp / (factor * pos_freqs)`.

        Args:
            rotary_dim: D, rotated channels.
            rope_theta: Base of the frequencies, above 1.
            factor: Context extension factor s, at least 1.
            original_max_position_embeddings: L, tokens of pretraining.
            beta_fast: Turns over L tokens from which a frequency is kept.
            beta_slow: Turns over L tokens up to which a frequency is divided.
            attention_factor: What multiplies cos and sin, replacing all below; 1 switches it off.
            mscale: Numerator's weight in the ratio of two magnitudes; needs mscale_all_dim.
            mscale_all_dim: Denominator's weight; the ratio counts if neither is 0. Without both,
                the attention factor is 0.1 ln(s) + 1.
            truncate: Whether to widen the ramp to whole pairs.
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Example:
            >>> scaling = RopeScaling.yarn(rotary_dim=128, rope_theta=1e6, factor=4.0,
            ...                            original_max_position_embeddings=32768)
            >>> round(scaling.attention_factor, 8)
            1.13862944

        Source: arXiv:2309.00071, eq. 17-23; `rope_type: yarn`.
        """
        base = base_parameters("yarn", rotary_dim, rope_theta, mrope_section, mrope_interleaved)
        base = _magnitude(base, attention_factor, mscale, mscale_all_dim)
        scale, length = check.scale_factor(factor), original_max_position_embeddings
        return cls._from_parameters(_blend(base, scale, length, beta_fast, beta_slow, truncate))

    @classmethod
    def dynamic_yarn(
        cls: type[S],
        *,
        rotary_dim: int,
        rope_theta: float,
        original_max_position_embeddings: int,
        seq_len: int | None = None,
        beta_fast: float = 32.0,
        beta_slow: float = 1.0,
        attention_factor: float | None = None,
        mscale: float | None = None,
        mscale_all_dim: float | None = None,
        truncate: bool = True,
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> S:
        """Build dynamic YaRN: YaRN of `factor = max(1, seq_len / L)`.

        Args:
            rotary_dim: D, rotated channels.
            rope_theta: Base of the frequencies, above 1.
            original_max_position_embeddings: L, tokens of pretraining.
            seq_len: Length in tokens; None leaves the frequencies as they are.
            beta_fast: Turns over L tokens from which a frequency is kept.
            beta_slow: Turns over L tokens up to which a frequency is divided.
            attention_factor: What multiplies cos and sin at every length, replacing all below.
            mscale: Numerator's weight in the ratio of two magnitudes; needs mscale_all_dim.
            mscale_all_dim: Denominator's weight; the ratio counts if neither is 0.
            truncate: Whether to widen the ramp to whole pairs.
            mrope_section: See the module's docstring.
            mrope_interleaved: See the module's docstring.

        Source: arXiv:2309.00071, sec. 3.3.
        """
        base = base_parameters(
            "dynamic_yarn", rotary_dim, rope_theta, mrope_section, mrope_interleaved
        )
        base = _magnitude(base, attention_factor, mscale, mscale_all_dim)
        base = dataclasses.replace(base, seq_len=optional_length("seq_len", seq_len, low=0))
        length = check.length("original_max_position_embeddings", original_max_position_embeddings)
        scale = 1.0 if base.seq_len is None else max(1.0, base.seq_len / length)
        return cls._from_parameters(_blend(base, scale, length, beta_fast, beta_slow, truncate))
