"""Lengths of a model: L, the length of training, and the lengths that the config promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..errors import RopeScaleConfigError, expected
from ..scaling import RopeScaling
from ..scaling import validate as check
from ..scaling.config.model_config import ModelConfig
from ..scaling.config.model_types.trained_lengths import (
    DUAL_CHUNK_KEY,
    LENGTH_KEYS,
    MAXIMUM_KEY,
    MODEL_CARDS,
    ORIGINAL_KEY,
    PROMISED_KEYS,
)
from .scaling_rule import rule_of, title_of


@dataclasses.dataclass(frozen=True)
class TrainedLength:
    """Lengths of a model, in tokens.

    Attributes:
        original: L, which the factor multiplies.
        source: The key or the model card that names L.
        maximum: The length that engines serve: the largest of max_position_embeddings,
            model_max_length and max_sequence_length.
        reach: The length that the config serves as it is: `maximum`, or factor * L if that is
            more; 0 for a scaling that does not name L.
    """

    original: int
    source: str
    maximum: int
    reach: int

    @property
    def original_length_missing(self) -> bool:
        """Whether the config's own scaling counts from a length that only the caller named."""
        return self.reach == 0

    @property
    def is_guess(self) -> bool:
        """Whether neither the config nor a model card names the length of training."""
        return self.source in LENGTH_KEYS


def card_length(model: ModelConfig, length: int | None) -> int | None:
    """Return L by the model card of a config with this max_position_embeddings, or None."""
    card = MODEL_CARDS.get((model.model_type, length or 0))
    return None if card is None else card[0]


def trained_length(model: ModelConfig, scaling: RopeScaling, given: int | None) -> TrainedLength:
    """Return the lengths of a model.

    Args:
        model: The model's config.
        scaling: The scaling of the config as it is.
        given: L, if the caller knows it.

    Raises:
        RopeScaleConfigError: If the config has no max_position_embeddings, if the scaling has no
            named L, or if the named L is not the given one.
    """
    maximum, maximum_source = model.length(MAXIMUM_KEY), MAXIMUM_KEY
    for name in PROMISED_KEYS:
        promised = model.optional_length(name) or 0
        if promised > maximum:
            maximum, maximum_source = promised, name
    known = scaling.original_max_position_embeddings
    named = _named_length(model)
    rule = rule_of(scaling)
    if known is None and named and not rule.is_scaling:
        # A rule that is added will take this L.
        known = check.length(ORIGINAL_KEY, named)
    card = MODEL_CARDS.get((model.model_type, maximum))
    if known is not None and not named and given is None:
        # Without a name, L is max_position_embeddings, and raising that would move the ramp.
        hint = "Name it in the config, or give --original-length."
        requirement = f"a number beside rope_type {scaling.rope_type!r}"
        raise RopeScaleConfigError(expected(ORIGINAL_KEY, requirement, "no such key", hint))
    if given is not None and named and check.length("original_length", given) != known:
        requirement = f"{known}, which the config's own scaling counts from"
        raise RopeScaleConfigError(expected("original_length", requirement, given))
    if given is not None and rule.factor_counts_from == "maximum":
        name = title_of(rule.rope_type)
        requirement = f"no such number for a {name} scaling, which counts from its own factor"
        raise RopeScaleConfigError(expected("original_length", requirement, given))
    if given is not None:
        original, source = check.length("original_length", given), "as given"
    elif known is not None:
        original, source = known, ORIGINAL_KEY
    elif (chunked := _dual_chunk_length(model)) is not None:
        original, source = chunked, DUAL_CHUNK_KEY
    elif card is not None:
        original, source = card[0], f"the model card of {model.model_type}"
    else:
        original, source = maximum, maximum_source
    reach = maximum
    if not rule.is_scaling:
        reach = original if given is not None else card[1] if card is not None else maximum
    elif rule.factor_counts_from == "original":
        # A given L is not in the config yet, so the config serves no known length as it is.
        reach = max(maximum, int((known or 0) * scaling.factor)) if named else 0
    return TrainedLength(original, source, maximum, reach)


def _named_length(model: ModelConfig) -> object:
    """Return the value of the key that a scaling reads L from, or None.

    Beside parameters that are nested by layer type, the top-level key has no effect.
    """
    entry = model.rope
    inside = entry.parameters.get(ORIGINAL_KEY)
    return inside or (None if entry.by_layer_type is not None else model.get(ORIGINAL_KEY))


def _dual_chunk_length(model: ModelConfig) -> int | None:
    given = model.get(DUAL_CHUNK_KEY)
    length = given.get(ORIGINAL_KEY) if isinstance(given, Mapping) else None
    return None if length is None else check.length(f"{DUAL_CHUNK_KEY}[{ORIGINAL_KEY!r}]", length)
