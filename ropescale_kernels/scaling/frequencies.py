"""From parameters to tensors: the triple (base frequencies, ramp, factor) of each rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from ..errors import RopeScaleConfigError, expected
from . import magnitude, ramp, rules
from .parameters import Parameters
from .validate import FLOAT32_MAX, FLOAT32_TINY

BLENDS = frozenset({"yarn", "ntk_by_parts", "dynamic_yarn"})


class Frequencies(NamedTuple):
    """Tensors of one scaling, each `(rotary_dim // 2,)` float32 on the CPU.

    Attributes:
        base_inv_freq: What ramp and factor act on, radians per token.
        ramp: 0 keeps a frequency, 1 divides it by the factor.
        inv_freq: The scaled frequencies, radians per token.
        pos_freqs: Tokens per radian before scaling, of rules that are a blend.
    """

    base_inv_freq: torch.Tensor
    ramp: torch.Tensor
    inv_freq: torch.Tensor
    pos_freqs: torch.Tensor | None = None


def derive(parameters: Parameters) -> Frequencies:
    """Return the tensors of a scaling.

    Args:
        parameters: Validated parameters.

    Returns:
        The tensors, with every turning frequency finite and above zero.

    Raises:
        RopeScaleConfigError: If a frequency leaves the range of float32.
    """
    frequencies = _DERIVE[parameters.rope_type](parameters)
    inv_freq = frequencies.inv_freq
    turning = inv_freq[: _turning_pairs(parameters)]
    if not bool((torch.isfinite(turning) & (turning > 0)).all()):
        raise RopeScaleConfigError(
            expected(
                "rope_theta and factor",
                "frequencies that float32 can hold above zero",
                f"rope_theta={parameters.rope_theta!r}, factor={parameters.factor!r}",
            )
        )
    return frequencies


def attention_factor(parameters: Parameters) -> float:
    """Return the attention factor of a scaling.

    Args:
        parameters: Validated parameters.

    Returns:
        What multiplies cos and sin, a float64.

    Raises:
        RopeScaleConfigError: If it leaves the range of float32.
    """
    p = parameters
    if p.rope_type in ("yarn", "dynamic_yarn"):
        result = magnitude.yarn_attention_factor(
            p.factor, p.attention_factor, p.mscale, p.mscale_all_dim
        )
    elif p.attention_factor is not None:
        result = p.attention_factor
    elif p.rope_type == "longrope":
        result = magnitude.longrope_attention_factor(p.factor, p.length())
    else:
        result = 1.0
    if not FLOAT32_TINY <= result <= FLOAT32_MAX:
        requirement = "values whose attention factor float32 can hold"
        got = f"mscale={p.mscale!r}, mscale_all_dim={p.mscale_all_dim!r}, factor={p.factor!r}"
        raise RopeScaleConfigError(expected("mscale", requirement, got))
    return result


def softmax_scale_multiplier(parameters: Parameters) -> float:
    """Return what a DeepSeek-like model multiplies its softmax scale by; 1 for the others."""
    if not (parameters.softmax_mscale and parameters.mscale_all_dim):
        return 1.0
    mscale = magnitude.get_mscale(parameters.factor, parameters.mscale_all_dim)
    return mscale * mscale


def correction_range(parameters: Parameters) -> tuple[float, float]:
    """Return the pairs between which the ramp of a blend rises."""
    p = parameters
    assert p.beta_fast is not None
    assert p.beta_slow is not None
    assert p.truncate is not None
    return ramp.correction_range(
        p.frequency_dim, p.rope_theta, p.length(), p.beta_fast, p.beta_slow, p.truncate
    )


def _turning_pairs(p: Parameters) -> int:
    if p.partial_rotary_factor is None:
        return p.rotary_dim // 2
    return rules.turning_pairs(p.frequency_dim, p.partial_rotary_factor)


def _unscaled(base_inv_freq: torch.Tensor) -> Frequencies:
    return Frequencies(base_inv_freq, torch.zeros_like(base_inv_freq), base_inv_freq)


def _divided(base_inv_freq: torch.Tensor, factor: float) -> Frequencies:
    inv_freq = rules.linear(base_inv_freq, factor)
    return Frequencies(base_inv_freq, torch.ones_like(base_inv_freq), inv_freq)


def _default(p: Parameters) -> Frequencies:
    return _unscaled(rules.default(p.rope_theta, p.frequency_dim))


def _linear(p: Parameters) -> Frequencies:
    return _divided(rules.default(p.rope_theta, p.frequency_dim), p.factor)


def _proportional(p: Parameters) -> Frequencies:
    assert p.partial_rotary_factor is not None
    base = rules.proportional(p.rope_theta, p.frequency_dim, p.partial_rotary_factor)
    return _divided(base, p.factor)


def _stretched(p: Parameters, stretch: float) -> Frequencies:
    # A huge factor loses the difference of its two products, and may leave a stretch below 1.
    theta = rules.ntk_theta(p.rope_theta, p.frequency_dim, stretch) if stretch > 0 else 0.0
    if not 1.0 < theta <= FLOAT32_MAX:
        requirement = "a factor whose stretched rope_theta float32 can hold"
        got = f"{p.factor!r} with rope_theta={p.rope_theta!r}, seq_len={p.seq_len!r}"
        raise RopeScaleConfigError(expected("factor", requirement, got))
    return _unscaled(rules.default(theta, p.frequency_dim))


def _ntk(p: Parameters) -> Frequencies:
    return _stretched(p, p.factor)


def _dynamic_ntk(p: Parameters) -> Frequencies:
    assert p.max_position_embeddings is not None
    seq_len = p.max_position_embeddings if p.seq_len is None else p.seq_len
    return _stretched(p, rules.dynamic_stretch(p.factor, seq_len, p.max_position_embeddings))


def _blended(p: Parameters) -> Frequencies:
    low, high = correction_range(p)
    pos_freqs = rules.pos_freqs(p.rope_theta, p.frequency_dim)
    weights = ramp.linear_ramp(low, high, len(pos_freqs))
    return Frequencies(
        1.0 / pos_freqs, weights, rules.blend(pos_freqs, weights, p.factor), pos_freqs
    )


def _llama3(p: Parameters) -> Frequencies:
    assert p.low_freq_factor is not None
    assert p.high_freq_factor is not None
    base = rules.default(p.rope_theta, p.frequency_dim)
    bounds = (p.length(), p.low_freq_factor, p.high_freq_factor)
    return Frequencies(base, ramp.llama3_ramp(base, *bounds), rules.llama3(base, p.factor, *bounds))


def _longrope(p: Parameters) -> Frequencies:
    factors = p.long_factor if p.seq_len is not None and p.seq_len > p.length() else p.short_factor
    assert factors is not None
    return _unscaled(rules.longrope(p.rope_theta, p.frequency_dim, factors))


_DERIVE: dict[str, Callable[[Parameters], Frequencies]] = {
    "default": _default,
    "linear": _linear,
    "ntk": _ntk,
    "dynamic": _dynamic_ntk,
    "ntk_by_parts": _blended,
    "yarn": _blended,
    "dynamic_yarn": _blended,
    "llama3": _llama3,
    "longrope": _longrope,
    "proportional": _proportional,
}
