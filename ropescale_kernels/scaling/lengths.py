"""Scalings that follow the sequence length: on the host for one length, on a device for many."""

from __future__ import annotations

import dataclasses

import torch

from ..errors import RopeScaleTypeError, RopeScaleValueError, expected
from . import magnitude, rules
from .frequencies import BLENDS, Frequencies, derive
from .parameters import Parameters
from .validate import length

_DEPENDENT = BLENDS | {"dynamic", "longrope"}
_INTEGERS = (torch.int32, torch.int64)


def depends_on_seq_len(parameters: Parameters) -> bool:
    """Return whether the rule gives other numbers at other lengths."""
    return parameters.rope_type in _DEPENDENT


def parameters_at(parameters: Parameters, seq_len: object) -> Parameters:
    """Return the parameters of the static scaling at one length.

    Args:
        parameters: Validated parameters.
        seq_len: Length in tokens, an integer from 0 to 2**53.

    Returns:
        The parameters themselves where the rule does not depend on the length.

    Raises:
        RopeScaleConfigError: If `seq_len` is no such integer.
    """
    tokens = length("seq_len", seq_len, low=0)
    if not depends_on_seq_len(parameters):
        return parameters
    if parameters.rope_type not in BLENDS:
        return dataclasses.replace(parameters, seq_len=tokens)
    factor = max(1.0, tokens / parameters.length())
    # Only the rule that is named dynamic keeps the length: a yarn scaling at a length is the plain
    # yarn scaling of that factor, and equal to it.
    kept = tokens if parameters.rope_type == "dynamic_yarn" else None
    return dataclasses.replace(parameters, factor=factor, seq_len=kept)


def check_seq_lens(seq_lens: object) -> torch.Tensor:
    """Return `seq_lens`, a 1-D int32 or int64 tensor, without reading its values.

    Raises:
        RopeScaleTypeError: If it is no tensor, or of another dtype.
        RopeScaleValueError: If it has another rank.
    """
    if not isinstance(seq_lens, torch.Tensor):
        raise RopeScaleTypeError(expected("seq_lens", "an int32 or int64 tensor", seq_lens))
    if seq_lens.dtype not in _INTEGERS:
        raise RopeScaleTypeError(
            expected("seq_lens", "an int32 or int64 tensor", str(seq_lens.dtype))
        )
    if seq_lens.dim() != 1:
        shape = f"a tensor of shape {tuple(seq_lens.shape)}"
        raise RopeScaleValueError(expected("seq_lens", "one dimension", shape))
    return seq_lens


def factor_at(parameters: Parameters, seq_lens: torch.Tensor) -> torch.Tensor:
    """Return the factors at many lengths.

    Args:
        parameters: Validated parameters.
        seq_lens: Lengths in tokens, `(n,)` int32 or int64.

    Returns:
        Factors, `(n,)` float64: max(1, n / L) for a blend, else the constant.
    """
    tokens = seq_lens.to(torch.float64)
    if parameters.rope_type not in BLENDS:
        return torch.full_like(tokens, parameters.factor)
    return (tokens / parameters.length()).clamp(min=1.0)


def attention_factor_at(
    parameters: Parameters, attention_factor: float, seq_lens: torch.Tensor
) -> torch.Tensor:
    """Return the attention factors at many lengths.

    Args:
        parameters: Validated parameters.
        attention_factor: The value of every rule but yarn's, at any length.
        seq_lens: Lengths in tokens, `(n,)` int32 or int64.

    Returns:
        Factors on cos and sin, `(n,)` float64. A device's logarithm may differ from the host's in
        its last bits, which float32 does not show.
    """
    factor = factor_at(parameters, seq_lens)
    if parameters.rope_type not in ("yarn", "dynamic_yarn"):
        return torch.full_like(factor, attention_factor)
    p = parameters
    return magnitude.yarn_attention_factor_at(
        factor, p.attention_factor, p.mscale, p.mscale_all_dim
    )


def constants(parameters: Parameters, frequencies: Frequencies) -> tuple[torch.Tensor, ...]:
    """Return the tensors that `inv_freq_at` reads, to be kept on its device.

    Args:
        parameters: Validated parameters.
        frequencies: The scaling's tensors.

    Returns:
        Float32 tensors on the CPU, each `(rotary_dim // 2,)`.
    """
    if parameters.rope_type in BLENDS:
        assert frequencies.pos_freqs is not None
        return frequencies.pos_freqs, frequencies.ramp
    if parameters.rope_type == "longrope":
        edge = parameters.length()
        lengths = (edge, edge + 1)
        short, long = (derive(dataclasses.replace(parameters, seq_len=n)) for n in lengths)
        return short.inv_freq, long.inv_freq
    return (frequencies.inv_freq,)


def inv_freq_at(
    parameters: Parameters, held: tuple[torch.Tensor, ...], seq_lens: torch.Tensor
) -> torch.Tensor:
    """Return the frequencies at many lengths, on their device and without waiting for it.

    Args:
        parameters: Validated parameters.
        held: What `constants` returned, on the device of `seq_lens`.
        seq_lens: Lengths in tokens, `(n,)` int32 or int64.

    Returns:
        Radians per token, `(n, rotary_dim // 2)` float32.
    """
    p = parameters
    if p.rope_type in BLENDS:
        pos_freqs, weights = held
        factor = factor_at(p, seq_lens).to(torch.float32)
        return rules.blend(pos_freqs, weights, factor[:, None])
    if p.rope_type == "longrope":
        short, long = held
        return torch.where((seq_lens > p.length())[:, None], long, short)
    if p.rope_type == "dynamic":
        assert p.max_position_embeddings is not None
        return rules.dynamic_ntk_at(
            p.rope_theta, p.frequency_dim, p.factor, p.max_position_embeddings, seq_lens
        )
    (inv_freq,) = held
    # Unlike expand().contiguous(), a repeat of one row is a copy, so nothing kept is handed out.
    return inv_freq.repeat(len(seq_lens), 1)
