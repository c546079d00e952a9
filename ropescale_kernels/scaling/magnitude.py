"""YaRN's attention factor, which multiplies cos and sin."""

from __future__ import annotations

import math

import torch

from .parameters import Parameters


def get_mscale(scale: float, mscale: float = 1.0) -> float:
    """Return YaRN's magnitude 0.1 * mscale * ln(scale) + 1, and 1 if nothing is extended.

    Args:
        scale: Context extension factor.
        mscale: Weight of the logarithm.

    Returns:
        sqrt(1/t) of arXiv:2309.00071, eq. 22, in float64.
    """
    if scale <= 1:
        return 1.0
    return 0.1 * mscale * math.log(scale) + 1.0


def yarn_attention_factor(
    scale: float,
    attention_factor: float | None,
    mscale: float | None,
    mscale_all_dim: float | None,
) -> float:
    """Return YaRN's attention factor at one extension factor.

    An explicit value replaces everything else; a ratio needs both mscales to be non-zero.

    Args:
        scale: Context extension factor.
        attention_factor: Explicit value, or None.
        mscale: Weight in the numerator, or None.
        mscale_all_dim: Weight in the denominator, or None.

    Returns:
        The factor on cos and sin. Source: config keys of the same names.
    """
    if attention_factor is not None:
        return attention_factor
    if mscale and mscale_all_dim:
        return get_mscale(scale, mscale) / get_mscale(scale, mscale_all_dim)
    return get_mscale(scale)


def yarn_attention_factor_at(
    scale: torch.Tensor,
    attention_factor: float | None,
    mscale: float | None,
    mscale_all_dim: float | None,
) -> torch.Tensor:
    """Return `yarn_attention_factor` of many extension factors, on their device.

    Args:
        scale: Extension factors, `(n,)` float64, at least 1.
        attention_factor: Explicit value, or None.
        mscale: Weight in the numerator, or None.
        mscale_all_dim: Weight in the denominator, or None.

    Returns:
        Factors on cos and sin, `(n,)` float64.
    """
    if attention_factor is not None:
        return torch.full_like(scale, attention_factor)
    # ln(1) is exactly 0, so a factor of 1 needs no case of its own.
    log = torch.log(scale)
    if mscale and mscale_all_dim:
        return (0.1 * mscale * log + 1.0) / (0.1 * mscale_all_dim * log + 1.0)
    return 0.1 * log + 1.0


def softmax_scale_multiplier(parameters: Parameters) -> float:
    """Return the factor of a DeepSeek-like model on its softmax scale; 1 for the others."""
    if not (parameters.softmax_mscale and parameters.mscale_all_dim):
        return 1.0
    mscale = get_mscale(parameters.factor, parameters.mscale_all_dim)
    return mscale * mscale
