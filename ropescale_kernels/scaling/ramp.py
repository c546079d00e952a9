"""Which frequencies a rule divides: 0 keeps one, 1 divides it by the factor."""

from __future__ import annotations

import math

import torch

from ..errors import RopeScaleConfigError, expected


def correction_range(
    rotary_dim: int,
    rope_theta: float,
    original_max_position_embeddings: int,
    beta_fast: float,
    beta_slow: float,
    truncate: bool,
) -> tuple[float, float]:
    """Return the pairs between which the ramp rises, as Transformers computes them.

    `dim(r) = D ln(L / (2 pi r)) / (2 ln(theta))` is the pair that turns r times over L tokens
    (arXiv:2309.00071, eq. 17). The upper limit D - 1 (and not D/2 - 1) is part of the definition
    that models were trained with. So is the order of the two limits: where even the lowest
    frequency turns beta_fast times (`low > D - 1`) or no pair turns beta_slow times (`high < 0`),
    the result has `low > high` and the ramp comes out inverted, as it does there.

    Args:
        rotary_dim: D, channels.
        rope_theta: Base of the frequencies.
        original_max_position_embeddings: L, tokens.
        beta_fast: Turns over L tokens from which a frequency is kept.
        beta_slow: Turns over L tokens up to which a frequency is divided.
        truncate: Whether to widen the range to whole pairs.

    Returns:
        `low` and `high`, in pairs.

    Raises:
        RopeScaleConfigError: If a beta is so extreme that L / beta leaves float64.
    """

    def dim(name: str, turns: float) -> float:
        ratio = original_max_position_embeddings / (turns * 2 * math.pi)
        if not 0.0 < ratio < math.inf:
            raise RopeScaleConfigError(expected(name, "a number of turns in float64 range", turns))
        return (rotary_dim * math.log(ratio)) / (2 * math.log(rope_theta))

    low, high = dim("beta_fast", beta_fast), dim("beta_slow", beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, rotary_dim - 1)


def linear_ramp(low: float, high: float, half: int) -> torch.Tensor:
    """Return the ramp `clamp((pair - low) / (high - low), 0, 1)`.

    Args:
        low: Last pair that is kept.
        high: First pair that is divided in full; where it equals `low` the ramp is a step.
        half: Number of pairs.

    Returns:
        The ramp, `(half,)` float32. Source: arXiv:2309.00071, eq. 18.
    """
    if low == high:
        high += 0.001
    pair = torch.arange(half, dtype=torch.float32, device="cpu")
    # As floats: an extreme base puts the limits beyond what a tensor takes for an integer.
    return torch.clamp((pair - float(low)) / float(high - low), 0, 1)


def llama3_ramp(
    base_inv_freq: torch.Tensor,
    original_max_position_embeddings: int,
    low_freq_factor: float,
    high_freq_factor: float,
) -> torch.Tensor:
    """Return 1 - smooth of the Llama 3.1 rule.

    Args:
        base_inv_freq: Frequencies before scaling, `(rotary_dim // 2,)` float32, radians per token.
        original_max_position_embeddings: L, tokens.
        low_freq_factor: Turns over L tokens up to which a frequency is divided.
        high_freq_factor: Turns over L tokens from which a frequency is kept.

    Returns:
        The ramp, `(rotary_dim // 2,)` float32. It describes the rule; the rule's bits come from
        `rules.llama3`, which selects instead of blending at both ends.
    """
    turns = original_max_position_embeddings * base_inv_freq / (2 * math.pi)
    # Where the two factors are equal the ramp is a step, and 0 / 0 would be its middle.
    span = (high_freq_factor - low_freq_factor) or torch.finfo(torch.float32).tiny
    smooth = (turns - low_freq_factor) / span
    return 1 - torch.clamp(smooth, 0, 1)
