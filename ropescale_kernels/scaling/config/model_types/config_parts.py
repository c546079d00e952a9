"""Facts about the parts of a config: sub-configs, and keys that tell a rotary embedding."""

from __future__ import annotations

# Keys that tell a text model with a rotary embedding.
ROPE_KEYS = ("rope_scaling", "rope_parameters", "rope_theta", "global_rope_theta")
# Sub-configs other than text_config that may hold a language model.
SUBCONFIG_NAMES = ("llm_config", "language_config", "thinker_config", "text_model")
# Prefixes of sub-configs that hold no language model.
OTHER_MODALITIES = ("vision", "audio", "speech", "image", "video", "encoder")
# Values of position_embedding_type without a rotation.
POSITIONS_WITHOUT_ROPE = frozenset({"absolute", "alibi", "learned", "nope", "none"})
# Keys that are dropped when a class such as Qwen2-VL's builds its text config from a flat file,
# because the text class does not declare them.
DROPPED_BY_TEXT_CLASS = ("partial_rotary_factor", "original_max_position_embeddings")
