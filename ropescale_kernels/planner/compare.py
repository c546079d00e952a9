"""One config in every dialect, with the differences from dialect "hf"."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import torch

from ..errors import RopeScaleError
from ..scaling import RopeScaling
from ..scaling.config.dialects import BASELINE, DIALECTS, Dialect
from ..scaling.config.model_config import ModelConfig
from ..scaling.config.resolve import resolve


@dataclasses.dataclass(frozen=True)
class DialectResult:
    """The scaling that one dialect reads in a config.

    Attributes:
        dialect: Name of the dialect.
        release: Release of the implementation.
        error: Why the dialect refuses the config, or None.
        rope_type: Name of the rule.
        rotary_dim: Rotated channels.
        factor: Context extension factor in force.
        original_max_position_embeddings: L, tokens.
        attention_factor: Multiplies q and k.
        softmax_scale_multiplier: Multiplies the softmax scale.
        inv_freq_error: Largest relative distance of a frequency from that of dialect "hf".
        differs: Names of the numbers above that differ from dialect "hf".
        warnings: Notes of the dialect about the config.
    """

    dialect: str
    release: str
    error: str | None = None
    rope_type: str | None = None
    rotary_dim: int | None = None
    factor: float | None = None
    original_max_position_embeddings: int | None = None
    attention_factor: float | None = None
    softmax_scale_multiplier: float | None = None
    inv_freq_error: float | None = None
    differs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def other_magnitude(self) -> bool:
        """Whether q, k or the softmax scale have another multiplier than in dialect "hf"."""
        return bool({"attention_factor", "softmax_scale_multiplier"} & set(self.differs))


_COMPARED = ("rotary_dim", "factor", "attention_factor", "softmax_scale_multiplier")


# A scaling, and the notes about its config. Of a model type that is not known, the first note says
# what is assumed.
Noted = tuple[RopeScaling, tuple[str, ...]]


def scaling_and_notes(
    model: Mapping[str, object] | ModelConfig,
    dialect: str | Dialect,
    layer_type: str | None,
    seq_len: int | None,
) -> Noted:
    """Return a config's scaling, and the notes about the config.

    Args:
        model: The model's config.
        dialect: A dialect, or the name of one.
        layer_type: Which entry of nested rope parameters to use.
        seq_len: Length in tokens, for rules that depend on the length.

    Raises:
        RopeScaleError: As `RopeScaling.from_hf_config`.
    """
    resolved = resolve(model, dialect=dialect, layer_type=layer_type, seq_len=seq_len, strict=False)
    return RopeScaling._from_parameters(resolved.parameters()), resolved.described()


def compare_dialects(
    config: Mapping[str, object] | ModelConfig,
    layer_type: str | None = None,
    seq_len: int | None = None,
    dialects: Mapping[str, Dialect] = DIALECTS,
    known: Mapping[str, Noted] = MappingProxyType({}),
) -> list[DialectResult]:
    """Return the scaling that every dialect reads in a config.

    Args:
        config: The model's config.
        layer_type: Which entry of nested rope parameters to use.
        seq_len: Length in tokens, for rules that depend on the length.
        dialects: The dialects, "hf" among them; default the public ones, "hf" first.
        known: Results that the caller has already, by dialect.

    Returns:
        One result for each dialect, in the order of `dialects`.
    """
    model = ModelConfig.of(config)
    found = {
        name: known[name] if name in known else _outcome(model, dialect, layer_type, seq_len)
        for name, dialect in dialects.items()
    }
    return [_result(dialects[name], found[name], found[BASELINE]) for name in dialects]


_Outcome = Noted | RopeScaleError


def _outcome(
    model: ModelConfig, dialect: Dialect, layer_type: str | None, seq_len: int | None
) -> _Outcome:
    try:
        return scaling_and_notes(model, dialect, layer_type, seq_len)
    except RopeScaleError as error:
        return error


def _result(dialect: Dialect, outcome: _Outcome, baseline: _Outcome) -> DialectResult:
    if isinstance(outcome, RopeScaleError):
        return DialectResult(dialect.name, dialect.release, error=str(outcome))
    scaling, notes = outcome
    distance: float | None = None
    differs: tuple[str, ...] = ()
    if not isinstance(baseline, RopeScaleError):
        base = baseline[0]
        distance = _distance(scaling.inv_freq, base.inv_freq)
        names = [name for name in _COMPARED if getattr(scaling, name) != getattr(base, name)]
        differs = (*names, "inv_freq") if distance != 0 else tuple(names)
    return DialectResult(
        dialect=dialect.name,
        release=dialect.release,
        rope_type=scaling.rope_type,
        rotary_dim=scaling.rotary_dim,
        factor=scaling.factor,
        original_max_position_embeddings=scaling.original_max_position_embeddings,
        attention_factor=scaling.attention_factor,
        softmax_scale_multiplier=scaling.softmax_scale_multiplier,
        inv_freq_error=distance,
        differs=differs,
        warnings=notes,
    )


def _distance(got: torch.Tensor, want: torch.Tensor) -> float | None:
    if got.shape != want.shape:
        return None
    turning = want != 0
    return float(((got - want).abs()[turning] / want[turning]).max())
