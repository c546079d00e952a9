"""The text model's part of a config, models without a rotary embedding, and other sub-configs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .model_types.composites import FLAT_WHOLES, TEXT_DEFAULTS, TEXT_TYPES, text_paths
from .model_types.config_parts import OTHER_MODALITIES, POSITIONS_WITHOUT_ROPE, ROPE_KEYS
from .model_types.model_type import ModelType
from .model_types.trained_lengths import DUAL_CHUNK_KEY
from .model_types.without_rope import (
    MODEL_TYPES_WITH_SEVERAL_POSITIONS,
    MODEL_TYPES_WITHOUT_ROPE,
)
from .rope_parameters import mapping
from .rope_words import rope_like

# Levels of parts inside parts that are searched.
_DEEPEST = 3
# Parts that are read elsewhere. What dual chunk attention does beyond its length is no part of a
# scaling.
_READ_PARTS = frozenset({"rope_scaling", "rope_parameters", DUAL_CHUNK_KEY})


def find_text(config: Mapping[str, object]) -> tuple[tuple[str, ...], Mapping[str, object]]:
    """Return the keys that lead to the text model's part of a config, and that part.

    Returns:
        () and the config itself if there is no such part.

    Raises:
        RopeScaleConfigError: If the part is no mapping.
    """
    for path in text_paths(config.get("model_type")):
        part: Mapping[str, object] | None = config
        for key in path:
            nested = None if part is None else part.get(key)
            part = None if nested is None else mapping(key, nested)
        if part is not None:
            return path, part
    return (), config


def type_of_text(config: Mapping[str, object], part: Mapping[str, object]) -> object:
    """Return the type of a text model: its own, or the default of the whole model's class.

    Args:
        config: The whole model's config.
        part: The text model's part of it, the config itself if there is no such part.
    """
    whole = config.get("model_type")
    if part is not config and part.get("model_type"):
        return part["model_type"]
    if isinstance(whole, str) and (part is not config or whole in FLAT_WHOLES):
        return TEXT_TYPES.get(whole, whole)
    return whole


def as_part(config: Mapping[str, object], path: tuple[str, ...], facts: ModelType) -> ModelType:
    """Return facts about a text model that the class of a whole model builds.

    Args:
        config: The whole model's config.
        path: Keys that lead to the text model's part, () if the keys are flat.
        facts: Facts about the text model's type.
    """
    whole = config.get("model_type")
    if not isinstance(whole, str) or not facts.known:
        return facts
    if path and (more := TEXT_DEFAULTS.get(whole)):
        return dataclasses.replace(facts, defaults={**facts.defaults, **more})
    if not path and FLAT_WHOLES.get(whole):
        return dataclasses.replace(facts, builds_text_config=True)
    return facts


def refuse_without_rope(config: Mapping[str, object], model_type: str, model: ModelType) -> None:
    """Refuse a model without a rotary embedding, or with one of several positions.

    Raises:
        RopeScaleConfigError: Naming the key that says so.
    """
    if model.rotates_if is not None:
        key, value = model.rotates_if
        given = config.get(key, model.defaults.get(key))
        if given != value:
            requirement = f"{value!r}, for a rotary embedding"
            raise RopeScaleConfigError(expected(key, requirement, check.shown(given)))
        return
    if not model.known and config.get("mla_use_nope") is True:
        raise RopeScaleConfigError(expected("mla_use_nope", "false, for a rotary embedding", True))
    kind = config.get("position_embedding_type") or model.defaults.get("position_embedding_type")
    rotates = any(config.get(key) is not None for key in ROPE_KEYS) and kind == "absolute"
    if config.get("alibi") is True:
        raise RopeScaleConfigError(expected("alibi", "false, for a rotary embedding", True))
    if isinstance(kind, str) and kind in POSITIONS_WITHOUT_ROPE and not rotates:
        raise RopeScaleConfigError(expected("position_embedding_type", "a rotary one", repr(kind)))
    requirements = {
        "a model with a rotary embedding": MODEL_TYPES_WITHOUT_ROPE,
        "a model that turns by one position": MODEL_TYPES_WITH_SEVERAL_POSITIONS,
    }
    for requirement, names in requirements.items():
        if model_type in names:
            raise RopeScaleConfigError(expected("model_type", requirement, repr(model_type)))


def caveats(model_type: str, model: ModelType) -> list[str]:
    """Return a note about what the configs of a model type do not tell of the rotation, if any."""
    requirement = "a rotation that the config alone describes"
    return [expected("model_type", requirement, model_type, model.caveat)] if model.caveat else []


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
        expected(name, requirement, ", ".join(found[: check.SHOWN_KEYS]), hint)
        for name, part in _parts(config)
        if name not in noted
        and (found := [f"{key} {check.shown(value)}" for key, value in _inside(part)])
    ][: check.SHOWN_KEYS]


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
