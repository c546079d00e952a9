"""Models without a rotary embedding, and sub-configs that are not read."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .model_types.config_parts import OTHER_MODALITIES, POSITIONS_WITHOUT_ROPE, ROPE_KEYS
from .model_types.model_type import ModelType
from .model_types.table import MODEL_TYPES_WITHOUT_ROPE

# An untrusted config may hold any number of keys; so many are named.
_SHOWN_KEYS = 8


def refuse_without_rope(config: Mapping[str, object], model_type: str, model: ModelType) -> None:
    """Refuse a model without a rotary embedding.

    Raises:
        RopeScaleConfigError: Naming the key that says so.
    """
    if model_type in MODEL_TYPES_WITHOUT_ROPE:
        requirement = "a model with a rotary embedding"
        raise RopeScaleConfigError(expected("model_type", requirement, repr(model_type)))
    kind = config.get("position_embedding_type") or model.defaults.get("position_embedding_type")
    rotates = any(config.get(key) is not None for key in ROPE_KEYS) and kind == "absolute"
    if config.get("alibi") is True:
        raise RopeScaleConfigError(expected("alibi", "false, for a rotary embedding", True))
    if isinstance(kind, str) and kind in POSITIONS_WITHOUT_ROPE and not rotates:
        raise RopeScaleConfigError(expected("position_embedding_type", "a rotary one", repr(kind)))


def subconfig_notes(config: Mapping[str, object]) -> list[str]:
    """Return notes about sub-configs other than text_config that hold a text model."""
    requirement = "no rope parameters of its own"
    hint = "They are not read; give that part alone."
    return [
        expected(check.shown(key)[1:-1], requirement, ", ".join(found), hint)
        for key, value in config.items()
        if isinstance(value, Mapping)
        and isinstance(key, str)
        and key not in ("rope_scaling", "rope_parameters")
        and not key.startswith(OTHER_MODALITIES)
        and (found := [name for name in ROPE_KEYS if value.get(name) is not None])
    ][:_SHOWN_KEYS]
