"""Blends: rules that move each pair between its own frequency and the divided one.

YaRN, NTK-by-parts and dynamic YaRN share the ramp and the frequencies; they differ in the attention
factor and in the factor that is in force.
"""

from __future__ import annotations

import dataclasses

import torch

from ...errors import RopeScaleConfigError, expected
from .. import magnitude, ramp
from .. import validate as check
from ..parameters import Parameters
from .frequencies import Frequencies, pos_freqs
from .rule import Rule, optional_positive

# Keys of the ramp in a config of Transformers, in the order in which they are written.
RAMP_KEYS = ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "truncate")


class Blend(Rule):
    """The frequencies of YaRN (arXiv:2309.00071, eq. 17-21) with any attention factor."""

    is_blend = True
    depends_on_seq_len = True

    def blend_parameters(
        self,
        base: Parameters,
        *,
        factor: float,
        original_max_position_embeddings: object,
        beta_fast: object,
        beta_slow: object,
        truncate: object,
    ) -> Parameters:
        """Return `base` with the checked parameters of a ramp."""
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

    def frequencies(self, p: Parameters) -> Frequencies:
        low, high = correction_range(p)
        positive = pos_freqs(p.rope_theta, p.frequency_dim)
        weights = ramp.linear_ramp(low, high, len(positive))
        return Frequencies(1.0 / positive, weights, blend(positive, weights, p.factor), positive)

    def at_length(self, p: Parameters, tokens: int) -> Parameters:
        # YaRN at a length is the plain YaRN of that factor and equal to it, so no length is kept.
        return dataclasses.replace(p, factor=max(1.0, tokens / p.length()), seq_len=None)

    def factor_at(self, p: Parameters, seq_lens: torch.Tensor) -> torch.Tensor:
        return (seq_lens.to(torch.float64) / p.length()).clamp(min=1.0)

    def constants(self, p: Parameters, frequencies: Frequencies) -> tuple[torch.Tensor, ...]:
        assert frequencies.pos_freqs is not None
        return frequencies.pos_freqs, frequencies.ramp

    def inv_freq_at(
        self, p: Parameters, constants: tuple[torch.Tensor, ...], seq_lens: torch.Tensor
    ) -> torch.Tensor:
        positive, weights = constants
        factor = self.factor_at(p, seq_lens).to(torch.float32)
        return blend(positive, weights, factor[:, None])


class MagnitudeBlend(Blend):
    """A blend with YaRN's attention factor (arXiv:2309.00071, eq. 22)."""

    def magnitude_parameters(
        self, base: Parameters, attention_factor: object, mscale: object, mscale_all_dim: object
    ) -> Parameters:
        """Return `base` with the checked parameters of the attention factor."""

        # The ratio of two magnitudes with a negative mscale passes through zero at some factor.
        def optional(name: str, value: object) -> float | None:
            return None if value is None else check.non_negative(name, value)

        return dataclasses.replace(
            base,
            attention_factor=optional_positive("attention_factor", attention_factor),
            mscale=optional("mscale", mscale),
            mscale_all_dim=optional("mscale_all_dim", mscale_all_dim),
        )

    def attention_factor(self, p: Parameters) -> float:
        return magnitude.yarn_attention_factor(
            p.factor, p.attention_factor, p.mscale, p.mscale_all_dim
        )

    def attention_factor_at(self, p: Parameters, seq_lens: torch.Tensor) -> torch.Tensor:
        return magnitude.yarn_attention_factor_at(
            self.factor_at(p, seq_lens), p.attention_factor, p.mscale, p.mscale_all_dim
        )


def blend(
    pos_freqs: torch.Tensor, ramp: torch.Tensor, factor: float | torch.Tensor
) -> torch.Tensor:
    """Return the frequencies of a blend.

    Kernels repeat these operations in this order, so it may not be simplified: `1 - (1 - ramp)`
    is not `ramp` in float32, and `1 / (s * f)` is not `(1 / f) / s`.

    Args:
        pos_freqs: Tokens per radian, `(rotary_dim // 2,)` float32.
        ramp: `(rotary_dim // 2,)` float32 in [0, 1].
        factor: Context extension factor: a float, or float32 `(n, 1)` for n profiles.

    Returns:
        Radians per token, `(rotary_dim // 2,)` or `(n, rotary_dim // 2)` float32. Source:
        arXiv:2309.00071, eq. 19-21.
    """
    inter = 1.0 / (factor * pos_freqs)
    extra = 1.0 / pos_freqs
    keep = 1 - ramp
    return inter * (1 - keep) + extra * keep


def correction_range(p: Parameters) -> tuple[float, float]:
    """Return the pairs between which the ramp of a blend rises."""
    assert p.beta_fast is not None
    assert p.beta_slow is not None
    assert p.truncate is not None
    return ramp.correction_range(
        p.frequency_dim, p.rope_theta, p.length(), p.beta_fast, p.beta_slow, p.truncate
    )
