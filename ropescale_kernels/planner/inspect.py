"""The scaling of a config: numbers, and the treatment of each pair of channels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch

from ..scaling import RopeScaling
from ..scaling.config.dialects import BASELINE
from ..scaling.config.model_config import ModelConfig
from .compare import DialectResult, compare_dialects, scaling_and_notes

KEPT, BLENDED, INTERPOLATED, NOT_ROTATED = "kept", "blended", "interpolated", "still"
# Relative tolerance for "divided by the factor" and for "kept", because frequencies are float32.
_EQUAL = 1e-5


@dataclasses.dataclass(frozen=True)
class Pair:
    """One pair of channels.

    Attributes:
        index: Number of the pair, 0 the fastest.
        wavelength: Tokens of one turn before scaling.
        ramp: 0 keeps the frequency, 1 divides it by the factor.
        turns: Turns over the length of pretraining, or over max_position_embeddings without one.
        divided_by: Unscaled over scaled frequency; None for a pair that does not turn.
        scaled_wavelength: Tokens of one turn after scaling.
        fate: "kept", "blended", "interpolated" (divided by the whole factor) or "still".
    """

    index: int
    wavelength: float
    turns: float | None
    ramp: float
    divided_by: float | None
    scaled_wavelength: float | None
    fate: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """One layer type of a config.

    Attributes:
        layer_type: Name of the layer type, or None if one entry serves all layers.
        dialect: Dialect of the numbers and the pairs.
        numbers: Numbers of the scaling by name.
        pairs: Each pair of rotated channels.
        readings: Results of every dialect.
        warnings: Notes of the dialect about the config.
    """

    layer_type: str | None
    dialect: str
    numbers: dict[str, object]
    pairs: list[Pair]
    readings: list[DialectResult]
    warnings: tuple[str, ...]


def inspect_config(
    config: Mapping[str, object] | ModelConfig,
    dialect: str = BASELINE,
    layer_type: str | None = None,
    seq_len: int | None = None,
) -> list[Inspection]:
    """Return the scaling of each layer type of a config.

    Args:
        config: A model's config.
        dialect: Dialect of the numbers and the pairs.
        layer_type: The only layer type to inspect; default all with rope parameters of their own.
        seq_len: Length in tokens, for rules that depend on the length.

    Returns:
        One inspection for each layer type.

    Raises:
        RopeScaleError: As `RopeScaling.from_hf_config`.
    """
    model = ModelConfig.of(config)
    names = model.layer_types if layer_type is None else [layer_type]
    return [_inspect(model, dialect, name, seq_len) for name in names]


def _inspect(
    model: ModelConfig, dialect: str, layer_type: str | None, seq_len: int | None
) -> Inspection:
    found = scaling_and_notes(model, dialect, layer_type, seq_len)
    scaling, notes = found
    return Inspection(
        layer_type=layer_type,
        dialect=dialect,
        numbers=summary(scaling),
        pairs=pairs(scaling, _length(scaling, model)),
        readings=compare_dialects(model, layer_type, seq_len, known={dialect: found}),
        warnings=notes,
    )


def summary(scaling: RopeScaling) -> dict[str, object]:
    """Return the numbers of a scaling by name, without those that are None."""
    found: dict[str, object] = {
        "rope_type": scaling.rope_type,
        "rotary_dim": scaling.rotary_dim,
        "rope_theta": scaling.rope_theta,
        "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_max_position_embeddings,
        "max_position_embeddings": scaling.max_position_embeddings,
        "attention_factor": scaling.attention_factor,
        "logits are multiplied by": scaling.attention_factor**2,
        "softmax_scale_multiplier": scaling.softmax_scale_multiplier,
        "mrope_section": scaling.mrope_section,
        "mrope_interleaved": scaling.mrope_interleaved if scaling.mrope_section else None,
        "fingerprint": scaling.fingerprint(),
    }
    return {name: value for name, value in found.items() if value is not None}


def pairs(scaling: RopeScaling, length: int | None) -> list[Pair]:
    """Return the treatment of each pair by a scaling.

    Args:
        scaling: The scaling.
        length: Tokens over which turns are counted, or None.

    Returns:
        The pairs, fastest first. Unscaled frequencies are those of `rope_theta` alone.
    """
    unscaled = 1.0 / _tokens_per_radian(scaling)
    ramp, scaled = scaling.ramp.tolist(), scaling.inv_freq.to(torch.float64).tolist()
    result = []
    for index, before in enumerate(unscaled.tolist()):
        wavelength = 2 * math.pi / before
        turns = None if length is None else length / wavelength
        divided_by, after = None, None
        if scaled[index] != 0:
            divided_by, after = before / scaled[index], 2 * math.pi / scaled[index]
        fate = _treatment(divided_by, scaling.factor)
        result.append(Pair(index, wavelength, turns, ramp[index], divided_by, after, fate))
    return result


def _treatment(divided_by: float | None, factor: float) -> str:
    if divided_by is None:
        return NOT_ROTATED
    if math.isclose(divided_by, 1.0, rel_tol=_EQUAL):
        return KEPT
    return INTERPOLATED if math.isclose(divided_by, factor, rel_tol=_EQUAL) else BLENDED


def _tokens_per_radian(scaling: RopeScaling) -> torch.Tensor:
    dim = scaling.frequency_dim
    exponent = torch.arange(0, dim, 2, dtype=torch.float64, device="cpu") / dim
    return scaling.rope_theta**exponent


def _length(scaling: RopeScaling, model: ModelConfig) -> int | None:
    known = scaling.original_max_position_embeddings or scaling.max_position_embeddings
    return known or model.optional_length("max_position_embeddings")
