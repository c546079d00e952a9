"""How far a model reaches: L, which it was trained on, and what its config promises."""

from __future__ import annotations

import dataclasses

from ropescale_kernels.context.text_config import TextConfig
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling import _validate as check

# Configs whose max_position_embeddings is not what the model was trained on, and that do not say
# so: their model cards do. Qwen3: 32,768 trained, and 8,192 on top as room for an output.
# Qwen2.5-VL: its YaRN settings count from 32,768.
_MODEL_CARDS = {
    ("qwen3", 40_960): 32_768,
    ("qwen3_moe", 40_960): 32_768,
    ("qwen2_5_vl", 128_000): 32_768,
}


_MAXIMUM = "max_position_embeddings"
_ORIGINAL = "original_max_position_embeddings"


@dataclasses.dataclass(frozen=True)
class TrainedLength:
    """Lengths of a model, in tokens.

    Attributes:
        original: L: what scaling counts from.
        source: Where L was found.
        maximum: What engines take a model to serve: max_position_embeddings, or model_max_length
            where a config has that and it is more.
        reach: What the config serves as it is: `maximum`, or L times the factor if that is more.
    """

    original: int
    source: str
    maximum: int
    reach: int

    @property
    def is_guess(self) -> bool:
        """Whether nothing says what the model was trained on."""
        return self.source == _MAXIMUM

    @property
    def is_missing(self) -> bool:
        """Whether a rule that counts from L was not given it."""
        return self.source.startswith(_MAXIMUM) and not self.is_guess


def trained_length(text: TextConfig, scaling: RopeScaling, given: int | None) -> TrainedLength:
    """Return how far a model reaches.

    Args:
        text: The text model's config.
        scaling: What it resolves to now.
        given: L where the caller knows it.

    Raises:
        RopeScaleConfigError: If the config has no max_position_embeddings.
    """
    maximum = text.length("max_position_embeddings")
    maximum = max(maximum, text.optional_length("model_max_length") or 0)
    known = scaling.original_max_position_embeddings
    card = _MODEL_CARDS.get((text.model_type, maximum))
    if given is not None:
        original, source = check.length("original_length", given), "as given"
    elif known is not None:
        named = text.entry.values.get(_ORIGINAL) or text.get(_ORIGINAL)
        original, source = known, _ORIGINAL if named else f"{_MAXIMUM}, for want of {_ORIGINAL}"
    elif card is not None:
        original, source = card, f"the model card of {text.model_type}"
    else:
        original, source = maximum, _MAXIMUM
    reach = maximum
    if known is not None and scaling.rope_type == "yarn":
        reach = max(maximum, int(known * scaling.factor))
    return TrainedLength(original, source, maximum, reach)
