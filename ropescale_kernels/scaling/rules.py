"""The frequencies of each rule, in Transformers' own order of float32 operations.

A model was trained with the bits of its float32 frequencies, so the order of the operations is the
definition. What a rule builds from parameters lives on the CPU whatever the default device is (a
model may be built under `torch.device("meta")`); what it computes from tensors stays with them.
"""

from __future__ import annotations

import math

import torch


def pos_freqs(rope_theta: float, dim: int) -> torch.Tensor:
    """Return `theta ** (2 j / dim)`.

    Args:
        rope_theta: Base of the frequencies.
        dim: Denominator of the exponent; ceil(dim / 2) pairs result.

    Returns:
        Tokens per radian, `(ceil(dim / 2),)` float32. Source: config key `rope_theta`.
    """
    return torch.pow(rope_theta, torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)


def default(rope_theta: float, dim: int) -> torch.Tensor:
    """Return the frequencies of RoPE without scaling (arXiv:2104.09864, eq. 15).

    Args:
        rope_theta: Base of the frequencies.
        dim: Denominator of the exponent.

    Returns:
        Radians per token, `(ceil(dim / 2),)` float32.
    """
    return 1.0 / pos_freqs(rope_theta, dim)


def ntk_theta(rope_theta: float, dim: int, stretch: float) -> float:
    """Return the NTK-aware base `theta * stretch ** (D / (D - 2))`.

    Args:
        rope_theta: Base before scaling.
        dim: D, above 2.
        stretch: Growth of the longest wavelength.

    Returns:
        The new base, infinite where float64 cannot hold it. Source: arXiv:2309.00071, eq. 16.
    """
    try:
        return float(rope_theta * stretch ** (dim / (dim - 2)))
    except OverflowError:
        return math.inf


def dynamic_stretch(factor: float, seq_len: float, length: int) -> float:
    """Return the dynamic NTK rule's stretch `factor * n / n0 - (factor - 1)`, 1 up to n0.

    Args:
        factor: Context extension factor.
        seq_len: n, tokens.
        length: n0, tokens: `max_position_embeddings` in dialect hf.

    Returns:
        The stretch for `ntk_theta`.
    """
    return (factor * max(seq_len, length) / length) - (factor - 1)


def dynamic_ntk_at(
    rope_theta: float, dim: int, factor: float, length: int, seq_lens: torch.Tensor
) -> torch.Tensor:
    """Return the dynamic NTK frequencies of many lengths, on their device.

    Args:
        rope_theta: Base before scaling.
        dim: D, above 2.
        factor: Context extension factor.
        length: n0, tokens.
        seq_lens: Lengths in tokens, `(n,)` of an integer dtype.

    Returns:
        Radians per token, `(n, ceil(dim / 2))` float32.
    """
    lengths = seq_lens.to(torch.float64).clamp(min=length)
    stretch = (factor * lengths / length) - (factor - 1)
    theta = (rope_theta * stretch ** (dim / (dim - 2))).to(torch.float32)
    exponent = torch.arange(0, dim, 2, dtype=torch.float32, device=seq_lens.device) / dim
    return 1.0 / torch.pow(theta[:, None], exponent)


def linear(base_inv_freq: torch.Tensor, factor: float) -> torch.Tensor:
    """Return the frequencies of position interpolation (arXiv:2306.15595): all divided.

    Args:
        base_inv_freq: Frequencies before scaling, float32.
        factor: Context extension factor.

    Returns:
        Radians per token, of the same shape.
    """
    return base_inv_freq / factor


def blend(
    pos_freqs: torch.Tensor, ramp: torch.Tensor, factor: float | torch.Tensor
) -> torch.Tensor:
    """Return YaRN's frequencies: each pair between its own and the divided one.

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


def llama3(
    base_inv_freq: torch.Tensor,
    factor: float,
    original_max_position_embeddings: int,
    low_freq_factor: float,
    high_freq_factor: float,
) -> torch.Tensor:
    """Return the frequencies of the Llama 3.1 rule, which selects by wavelength.

    Args:
        base_inv_freq: Frequencies before scaling, `(rotary_dim // 2,)` float32.
        factor: Context extension factor.
        original_max_position_embeddings: L, tokens.
        low_freq_factor: Turns over L tokens below which a frequency is divided.
        high_freq_factor: Turns over L tokens above which a frequency is kept.

    Returns:
        Radians per token, of the same shape. Source: config keys of the same names.
    """
    longest = original_max_position_embeddings / low_freq_factor
    shortest = original_max_position_embeddings / high_freq_factor
    wavelength = 2 * math.pi / base_inv_freq
    selected = torch.where(wavelength > longest, base_inv_freq / factor, base_inv_freq)
    smooth = (original_max_position_embeddings / wavelength - low_freq_factor) / (
        high_freq_factor - low_freq_factor
    )
    smoothed = (1 - smooth) * selected / factor + smooth * selected
    between = ~(wavelength < shortest) & ~(wavelength > longest)
    return torch.where(between, smoothed, selected)


def longrope(rope_theta: float, dim: int, channel_factors: tuple[float, ...]) -> torch.Tensor:
    """Return the frequencies of LongRoPE: each pair has a factor of its own.

    Args:
        rope_theta: Base of the frequencies.
        dim: Denominator of the exponent.
        channel_factors: One factor per pair: `short_factor` or `long_factor`.

    Returns:
        Radians per token, `(dim // 2,)` float32. Source: arXiv:2402.13753, eq. 2.
    """
    factors = torch.tensor(channel_factors, dtype=torch.float32, device="cpu")
    return 1.0 / (factors * pos_freqs(rope_theta, dim))


def turning_pairs(dim: int, partial_rotary_factor: float) -> int:
    """Return how many pairs of a head of `dim` channels the proportional rule turns."""
    return int(partial_rotary_factor * dim // 2)


def proportional(rope_theta: float, dim: int, partial_rotary_factor: float) -> torch.Tensor:
    """Return frequencies whose last pairs do not turn.

    Args:
        rope_theta: Base of the frequencies.
        dim: Channels of the whole head, which is also the denominator of the exponent.
        partial_rotary_factor: Share of the pairs that turn.

    Returns:
        Radians per token, `(dim // 2,)` float32; 0 keeps a pair as it is.
    """
    turning = turning_pairs(dim, partial_rotary_factor)
    inv_freq = torch.zeros(dim // 2, dtype=torch.float32, device="cpu")
    exponent = torch.arange(0, 2 * turning, 2, dtype=torch.float32, device="cpu") / dim
    inv_freq[:turning] = 1.0 / torch.pow(rope_theta, exponent)
    return inv_freq
