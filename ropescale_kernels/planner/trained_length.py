"""How far a model reaches: L, which it was trained on, and what its config promises."""

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


@dataclasses.dataclass(frozen=True)
class TrainedLength:
    """Lengths of a model, in tokens.

    Attributes:
        original: L: what scaling counts from.
        source: Where L was found.
        maximum: What engines take a model to serve: max_position_embeddings, or model_max_length
            or max_sequence_length where a config has that and it is more.
        reach: What the config serves as it is: `maximum`, or L times the factor if that is more; 0
            for a scaling that does not name its L.
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
        """Whether nothing says what the model was trained on."""
        return self.source in LENGTH_KEYS


def card_length(model: ModelConfig, length: int | None) -> int | None:
    """Return L by the model card of a config whose length is this one, or None."""
    card = MODEL_CARDS.get((model.model_type, length or 0))
    return None if card is None else card[0]


def trained_length(model: ModelConfig, scaling: RopeScaling, given: int | None) -> TrainedLength:
    """Return how far a model reaches.

    Args:
        model: The model's config.
        scaling: What it resolves to now.
        given: L where the caller knows it.

    Raises:
        RopeScaleConfigError: If the config has no max_position_embeddings, if its scaling counts
            from a length that it does not name, or from another one than the given.
    """
    maximum, maximum_source = model.length(MAXIMUM_KEY), MAXIMUM_KEY
    for name in PROMISED_KEYS:
        promised = model.optional_length(name) or 0
        if promised > maximum:
            maximum, maximum_source = promised, name
    known = scaling.original_max_position_embeddings
    named = model.rope.parameters.get(ORIGINAL_KEY) or model.get(ORIGINAL_KEY)
    if known is None and named and scaling.rope_type == "default":
        # Where a rule is added, this is what it will count from.
        known = check.length(ORIGINAL_KEY, named)
    card = MODEL_CARDS.get((model.model_type, maximum))
    if known is not None and not named and given is None:
        # max_position_embeddings would count as L, and every change of it would move the ramp.
        hint = "Name it in the config, or give --original-length."
        requirement = f"a number beside rope_type {scaling.rope_type!r}"
        raise RopeScaleConfigError(expected(ORIGINAL_KEY, requirement, "no such key", hint))
    if given is not None and named and check.length("original_length", given) != known:
        requirement = f"{known}, which the config's own scaling counts from"
        raise RopeScaleConfigError(expected("original_length", requirement, given))
    if given is not None and scaling.rope_type == "linear":
        requirement = "no such number for a linear scaling, which counts from its own factor"
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
    if scaling.rope_type == "default":
        reach = original if given is not None else card[1] if card is not None else maximum
    elif scaling.rope_type == "yarn":
        # What was given is not in the config yet, so that it serves no length as it is.
        reach = max(maximum, int((known or 0) * scaling.factor)) if named else 0
    return TrainedLength(original, source, maximum, reach)


def _dual_chunk_length(model: ModelConfig) -> int | None:
    given = model.get(DUAL_CHUNK_KEY)
    length = given.get(ORIGINAL_KEY) if isinstance(given, Mapping) else None
    return None if length is None else check.length(f"{DUAL_CHUNK_KEY}[{ORIGINAL_KEY!r}]", length)
