"""How far a model reaches: L, which it was trained on, and what its config promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..errors import RopeScaleConfigError, expected
from ..scaling import RopeScaling
from ..scaling import validate as check
from ..scaling.config.model_config import ModelConfig

# Configs whose max_position_embeddings is not what the model was trained on, and that do not say
# so: their model cards do. Qwen3 and QwQ: 32,768 trained, and 8,192 on top as room for an output.
# Qwen2.5-VL: its YaRN settings count from 32,768.
# By model type and length: L, and what the model serves unscaled.
_MODEL_CARDS = {
    ("qwen3", 40_960): (32_768, 40_960),
    ("qwen3_moe", 40_960): (32_768, 40_960),
    ("qwen2", 40_960): (32_768, 40_960),
    ("qwen2_5_vl", 128_000): (32_768, 32_768),
    ("qwen2_5_vl_text", 128_000): (32_768, 32_768),
}


_MAXIMUM = "max_position_embeddings"
# Other names for what a model serves, where that is more.
PROMISES = ("model_max_length", "max_sequence_length")
LENGTHS = (_MAXIMUM, *PROMISES)
_ORIGINAL = "original_max_position_embeddings"
_DUAL_CHUNK = "dual_chunk_attention_config"


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
    def is_unnamed(self) -> bool:
        """Whether the config's own scaling counts from a length that only the caller named."""
        return self.reach == 0

    @property
    def is_guess(self) -> bool:
        """Whether nothing says what the model was trained on."""
        return self.source in LENGTHS


def card_length(model: ModelConfig, length: int | None) -> int | None:
    """Return L by the model card of a config whose length is this one, or None."""
    card = _MODEL_CARDS.get((model.model_type, length or 0))
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
    maximum, maximum_source = model.length(_MAXIMUM), _MAXIMUM
    for name in PROMISES:
        promised = model.optional_length(name) or 0
        if promised > maximum:
            maximum, maximum_source = promised, name
    known = scaling.original_max_position_embeddings
    named = model.rope.values.get(_ORIGINAL) or model.get(_ORIGINAL)
    if known is None and named and scaling.rope_type == "default":
        # Where a rule is added, this is what it will count from.
        known = check.length(_ORIGINAL, named)
    card = _MODEL_CARDS.get((model.model_type, maximum))
    if known is not None and not named and given is None:
        # max_position_embeddings would count as L, and every change of it would move the ramp.
        hint = "Name it in the config, or give --original-length."
        raise RopeScaleConfigError(
            expected(_ORIGINAL, f"a number beside rope_type {scaling.rope_type!r}", "no such key",
                     hint)
        )  # fmt: skip
    if given is not None and named and check.length("original_length", given) != known:
        requirement = f"{known}, which the config's own scaling counts from"
        raise RopeScaleConfigError(expected("original_length", requirement, given))
    if given is not None and scaling.rope_type == "linear":
        requirement = "no such number for a linear scaling, which counts from its own factor"
        raise RopeScaleConfigError(expected("original_length", requirement, given))
    if given is not None:
        original, source = check.length("original_length", given), "as given"
    elif known is not None:
        original, source = known, _ORIGINAL
    elif (chunked := _dual_chunk_length(model)) is not None:
        original, source = chunked, _DUAL_CHUNK
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
    # Qwen2.5-1M: what the model was trained on, before an attention of its own takes it further.
    given = model.get(_DUAL_CHUNK)
    length = given.get(_ORIGINAL) if isinstance(given, Mapping) else None
    return None if length is None else check.length(f"{_DUAL_CHUNK}[{_ORIGINAL!r}]", length)
