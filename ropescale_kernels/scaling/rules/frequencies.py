"""Frequencies that several rules start from, in Transformers' own order of float32 operations.

A model was trained with the bits of its float32 frequencies, so the order of the operations is the
definition. Tensors that a rule builds from parameters are on the CPU whatever the default device
is, because a model may be built under `torch.device("meta")`. Tensors that a rule computes from
other tensors stay on their device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Frequencies(NamedTuple):
    """Tensors of one scaling, each `(rotary_dim // 2,)` float32 on the CPU.

    Attributes:
        base_inv_freq: Frequencies that ramp and factor act on, radians per token.
        ramp: 0 keeps a frequency, 1 divides it by the factor.
        inv_freq: The scaled frequencies, radians per token.
        pos_freqs: Tokens per radian before scaling, of rules that are a blend.
    """

    base_inv_freq: torch.Tensor
    ramp: torch.Tensor
    inv_freq: torch.Tensor
    pos_freqs: torch.Tensor | None = None


def pos_freqs(rope_theta: float, dim: int) -> torch.Tensor:
    """Return `theta ** (2 j / dim)`.

    Args:
        rope_theta: Base of the frequencies.
        dim: Denominator of the exponent; ceil(dim / 2) pairs result.

    Returns:
        Tokens per radian, `(ceil(dim / 2),)` float32. Source: config key `rope_theta`.
    """
    return torch.pow(rope_theta, torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)


def plain_inv_freq(rope_theta: float, dim: int) -> torch.Tensor:
    """Return the frequencies of RoPE without scaling (arXiv:2104.09864, eq. 15).

    Args:
        rope_theta: Base of the frequencies.
        dim: Denominator of the exponent.

    Returns:
        Radians per token, `(ceil(dim / 2),)` float32.
    """
    return 1.0 / pos_freqs(rope_theta, dim)


def unscaled(base_inv_freq: torch.Tensor) -> Frequencies:
    """Return the tensors of a rule that keeps its base frequencies."""
    return Frequencies(base_inv_freq, torch.zeros_like(base_inv_freq), base_inv_freq)


def divided(base_inv_freq: torch.Tensor, factor: float) -> Frequencies:
    """Return the tensors of a rule that divides every base frequency by the factor."""
    return Frequencies(base_inv_freq, torch.ones_like(base_inv_freq), base_inv_freq / factor)
