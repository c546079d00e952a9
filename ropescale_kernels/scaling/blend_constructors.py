"""The named constructors of the rules that blend through YaRN's ramp."""

from __future__ import annotations

from collections.abc import Sequence

from .constructors import Constructors, S


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
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: arXiv:2309.00071, eq. 17-21.
        """
        return cls._from_rule("ntk_by_parts", locals())

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
            attention_factor: Attention factor: multiplies cos and sin, in place of the formula of
                factor, mscale and mscale_all_dim; 1 changes nothing.
            mscale: Numerator's weight in the ratio of two magnitudes; needs mscale_all_dim.
            mscale_all_dim: Denominator's weight; the ratio counts if neither is 0. Without both,
                the attention factor is 0.1 ln(s) + 1.
            truncate: Whether to widen the ramp to whole pairs.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Example:
            >>> scaling = RopeScaling.yarn(rotary_dim=128, rope_theta=1e6, factor=4.0,
            ...                            original_max_position_embeddings=32768)
            >>> round(scaling.attention_factor, 8)
            1.13862944

        Source: arXiv:2309.00071, eq. 17-23; `rope_type: yarn`.
        """
        return cls._from_rule("yarn", locals())

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
            attention_factor: Attention factor: multiplies cos and sin at every length, in place of
                the formula of the length, mscale and mscale_all_dim.
            mscale: Numerator's weight in the ratio of two magnitudes; needs mscale_all_dim.
            mscale_all_dim: Denominator's weight; the ratio counts if neither is 0.
            truncate: Whether to widen the ramp to whole pairs.
            mrope_section: Pairs of each position axis, summing to D / 2; None for one axis.
            mrope_interleaved: Whether the axes alternate from pair to pair; else they form bands.

        Source: arXiv:2309.00071, sec. 3.3.
        """
        return cls._from_rule("dynamic_yarn", locals())
