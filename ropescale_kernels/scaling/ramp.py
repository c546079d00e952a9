"""The ramp of YaRN: 0 keeps a frequency, 1 divides it by the factor."""

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
    (arXiv:2309.00071, eq. 17). Models were trained with two oddities of this definition.
    The upper limit is D - 1 and not D/2 - 1. The two limits may change places: if even the lowest
    frequency turns beta_fast times (`low > D - 1`), or no pair turns beta_slow times (`high < 0`),
    the result has `low > high`, and the ramp is inverted as in Transformers.

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
        high: First pair that is divided in full; if equal to `low`, the ramp is a step.
        half: Number of pairs.

    Returns:
        The ramp, `(half,)` float32. Source: arXiv:2309.00071, eq. 18.
    """
    if low == high:
        high += 0.001
    pair = torch.arange(half, dtype=torch.float32, device="cpu")
    # The limits enter as floats because an extreme base puts them beyond 64-bit integers.
    return torch.clamp((pair - float(low)) / float(high - low), 0, 1)
