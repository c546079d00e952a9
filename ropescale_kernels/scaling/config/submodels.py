"""Models without a rotary embedding, and sub-configs that are not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .model_types.config_parts import OTHER_MODALITIES, POSITIONS_WITHOUT_ROPE, ROPE_KEYS
from .model_types.model_type import ModelType
from .model_types.table import MODEL_TYPES_WITHOUT_ROPE
from .model_types.trained_lengths import DUAL_CHUNK_KEY
from .rope_words import rope_like

# An untrusted config may hold any number of keys; so many are named.
_SHOWN_KEYS = 8
# Levels of parts inside parts that are searched.
_DEEPEST = 3
# Parts that are read elsewhere. What dual chunk attention does beyond its length is no part of a
# scaling.
_READ_PARTS = frozenset({"rope_scaling", "rope_parameters", DUAL_CHUNK_KEY})


def refuse_without_rope(config: Mapping[str, object], model_type: str, model: ModelType) -> None:
    """Refuse a model without a rotary embedding.

    Raises:
        RopeScaleConfigError: Naming the key that says so.
    """
    if model_type in MODEL_TYPES_WITHOUT_ROPE:
        requirement = "a model with a rotary embedding"
        raise RopeScaleConfigError(expected("model_type", requirement, repr(model_type)))
    if not model.known and config.get("mla_use_nope") is True:
        raise RopeScaleConfigError(expected("mla_use_nope", "false, for a rotary embedding", True))
    kind = config.get("position_embedding_type") or model.defaults.get("position_embedding_type")
    rotates = any(config.get(key) is not None for key in ROPE_KEYS) and kind == "absolute"
    if config.get("alibi") is True:
        raise RopeScaleConfigError(expected("alibi", "false, for a rotary embedding", True))
    if isinstance(kind, str) and kind in POSITIONS_WITHOUT_ROPE and not rotates:
        raise RopeScaleConfigError(expected("position_embedding_type", "a rotary one", repr(kind)))


def subconfig_notes(config: Mapping[str, object]) -> list[str]:
    """Return notes about parts of a text model's config that hold rope keys of their own.

    A part whose own name looks like a rotation's is no such part: it has a note as a key.

    Args:
        config: The text model's top-level keys.
    """
    requirement = "no rope parameters of its own"
    noted = _READ_PARTS.union(dict(rope_like(config)))
    hint = "They are not read; give that part alone."
    return [
        expected(name, requirement, ", ".join(found[:_SHOWN_KEYS]), hint)
        for name, part in _parts(config)
        if name not in noted
        and (found := [f"{key} {check.shown(value)}" for key, value in _inside(part)])
    ][:_SHOWN_KEYS]


def _parts(config: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for key, value in config.items():
        modality = isinstance(key, str) and key.startswith(OTHER_MODALITIES)
        if isinstance(value, Mapping) and not modality:
            yield check.shown(key)[1:-1], value


def _inside(part: Mapping[str, object], depth: int = 1) -> Iterator[tuple[str, object]]:
    found = dict(rope_like(part))
    yield from found.items()
    for name, inner in _parts(part) if depth < _DEEPEST else ():
        if name not in found:
            yield from ((f"{name}[{key!r}]", value) for key, value in _inside(inner, depth + 1))
