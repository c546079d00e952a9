"""The rule of Llama 3.1, which selects frequencies by their wavelength."""

from __future__ import annotations

import dataclasses
import math

import torch
from typing_extensions import Unpack

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .frequencies import Frequencies, plain_inv_freq
from .rule import ConfigRule, SharedKeys

_KEYS = ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
# Values of keys that the config of a dialect may leave out.
_DEFAULTS = {"factor": 1.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


class Llama3(ConfigRule):
    """Low frequencies divided, high ones kept, a smooth transition between them."""

    rope_type = "llama3"
    own_keys = frozenset(_KEYS)
    no_extension = (
        "Its frequencies were trained with, and no rule of Transformers scales them further."
    )

    def parameters(
        self,
        *,
        factor: object,
        original_max_position_embeddings: object,
        low_freq_factor: object = 1.0,
        high_freq_factor: object = 4.0,
        **shared: Unpack[SharedKeys],
    ) -> Parameters:
        base = self.shared(**shared)
        low = check.positive("low_freq_factor", low_freq_factor)
        high = check.positive("high_freq_factor", high_freq_factor)
        if high < low:
            requirement = f"a number of at least low_freq_factor={low!r}"
            raise RopeScaleConfigError(expected("high_freq_factor", requirement, high))
        return dataclasses.replace(
            base,
            factor=check.scale_factor(factor),
            original_max_position_embeddings=check.length(
                "original_max_position_embeddings", original_max_position_embeddings
            ),
            low_freq_factor=low,
            high_freq_factor=high,
        )

    def frequencies(self, p: Parameters) -> Frequencies:
        assert p.low_freq_factor is not None
        assert p.high_freq_factor is not None
        base = plain_inv_freq(p.rope_theta, p.frequency_dim)
        bounds = (p.length(), p.low_freq_factor, p.high_freq_factor)
        return Frequencies(base, _ramp(base, *bounds), _inv_freq(base, p.factor, *bounds))

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset(_KEYS)

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        arguments: dict[str, object] = {}
        for name, default in _DEFAULTS.items():
            if name not in entry.parameters and entry.dialect.optional_llama3:
                hint = f"Dialect {entry.dialect.name!r} takes {default!r}."
                entry.findings.note(expected(name, "a number", "no such key", hint))
                arguments[name] = default
            else:
                arguments[name] = entry.parameter(name)
        arguments["original_max_position_embeddings"] = entry.original_length()
        return self.rope_type, arguments

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, *_KEYS)


def _inv_freq(
    base_inv_freq: torch.Tensor,
    factor: float,
    original_max_position_embeddings: int,
    low_freq_factor: float,
    high_freq_factor: float,
) -> torch.Tensor:
    """Return the scaled frequencies.

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


def _ramp(
    base_inv_freq: torch.Tensor,
    original_max_position_embeddings: int,
    low_freq_factor: float,
    high_freq_factor: float,
) -> torch.Tensor:
    """Return 1 - smooth, which describes the rule.

    The bits of the rule come from `_inv_freq`, which selects at both ends instead of blending.

    Args:
        base_inv_freq: Frequencies before scaling, `(rotary_dim // 2,)` float32, radians per token.
        original_max_position_embeddings: L, tokens.
        low_freq_factor: Turns over L tokens up to which a frequency is divided.
        high_freq_factor: Turns over L tokens from which a frequency is kept.

    Returns:
        The ramp, `(rotary_dim // 2,)` float32.
    """
    turns = original_max_position_embeddings * base_inv_freq / (2 * math.pi)
    # With two equal factors the ramp is a step, and a span of 0 would divide 0 by 0 in its middle.
    span = (high_freq_factor - low_freq_factor) or torch.finfo(torch.float32).tiny
    smooth = (turns - low_freq_factor) / span
    return 1 - torch.clamp(smooth, 0, 1)
