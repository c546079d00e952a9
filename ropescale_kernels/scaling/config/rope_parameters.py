"""Where a config keeps its rope parameters, by layer type, and what a class makes of them."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .dialects import DIALECTS, Dialect
from .model_types.model_type import ModelType
from .model_types.table import MODEL_TYPES, UNKNOWN, UNROTATED

_EMPTY: Mapping[str, object] = {}
# Models have two or three; what is shown and drawn for each is bounded by this.
_MAX_LAYER_TYPES = 16
_SHOWN_KEYS = 8
# What tells a text model inside another, and the parts that are something else.
_PART_KEYS = ("rope_scaling", "rope_parameters", "rope_theta", "global_rope_theta")
_OTHER_PARTS = ("vision", "audio", "speech", "image", "video", "encoder")
# Values of position_embedding_type for positions that are not rotated.
_UNROTATED_KINDS = frozenset({"absolute", "alibi", "learned", "nope", "none"})


def text_config(config: Mapping[str, object]) -> tuple[Mapping[str, object], str]:
    """Return the text model's part of a config, and its model type, "" where there is none.

    Raises:
        RopeScaleConfigError: If one of the two is something else.
    """
    nested = config.get("text_config")
    text = config if nested is None else _mapping("text_config", nested)
    model_type = text.get("model_type") or config.get("model_type") or ""
    if not isinstance(model_type, str):
        raise RopeScaleConfigError(expected("model_type", "a str", check.shown(model_type)))
    return text, model_type


def layer_types(config: Mapping[str, object]) -> list[str | None]:
    """Return the layer types whose rope parameters differ; [None] where one serves all.

    Args:
        config: A model's config, possibly multimodal.

    Returns:
        Names to give as `layer_type`. Types without a rotary embedding are left out.

    Raises:
        RopeScaleConfigError: If the parameters are no mapping.
    """
    text, model_type = text_config(config)
    model = MODEL_TYPES.get(model_type, UNKNOWN)
    parameters = rope_parameters(text, model, [], DIALECTS["hf"])
    return [*_nested(parameters)] or [None]


def refuse_unrotated(config: Mapping[str, object], model_type: str, model: ModelType) -> None:
    """Refuse a model without a rotary embedding.

    Raises:
        RopeScaleConfigError: Naming the key that says so.
    """
    if model_type in UNROTATED:
        requirement = "a model with a rotary embedding"
        raise RopeScaleConfigError(expected("model_type", requirement, repr(model_type)))
    kind = config.get("position_embedding_type") or model.defaults.get("position_embedding_type")
    rotates = any(config.get(key) is not None for key in _PART_KEYS) and kind == "absolute"
    if config.get("alibi") is True:
        raise RopeScaleConfigError(expected("alibi", "false, for a rotary embedding", True))
    if isinstance(kind, str) and kind in _UNROTATED_KINDS and not rotates:
        raise RopeScaleConfigError(expected("position_embedding_type", "a rotary one", repr(kind)))


def other_parts(config: Mapping[str, object]) -> list[str]:
    """Return what to say of models inside a model that are not called text_config."""
    requirement = "no rope parameters of its own"
    hint = "They are not read; give that part alone."
    return [
        expected(check.shown(key)[1:-1], requirement, ", ".join(found), hint)
        for key, value in config.items()
        if isinstance(value, Mapping)
        and isinstance(key, str)
        and key not in ("rope_scaling", "rope_parameters")
        and not key.startswith(_OTHER_PARTS)
        and (found := [name for name in _PART_KEYS if value.get(name) is not None])
    ][:_SHOWN_KEYS]


def rope_parameters(
    config: Mapping[str, object], model: ModelType, notes: list[str], dialect: Dialect
) -> Mapping[str, object]:
    """Return the rope parameters of a text model, flat or by layer type.

    Args:
        config: The text model's top-level keys.
        model: How its model type reads them.
        notes: Where to add warnings.
        dialect: Whose reading to follow.

    Raises:
        RopeScaleConfigError: If they are no mapping.
    """
    old = _optional_mapping("rope_scaling", config.get("rope_scaling"))
    new = _optional_mapping("rope_parameters", config.get("rope_parameters"))
    if old and new and old != new:
        other = [key for key in new if old.get(key, ...) != new[key]][:_SHOWN_KEYS]
        shown = [f"{check.shown(key)} {check.shown(new[key])}" for key in other]
        got = ", ".join(shown) or "fewer keys"
        notes.append(
            expected("rope_parameters", "rope_scaling's values", got, "rope_scaling wins.")
        )
    if model.layers:
        return _by_layer(config, model, old, new, notes, dialect)
    if old or new or config.get("rope_parameters") is not None:
        return old or new
    return _optional_mapping("rope_parameters", model.defaults.get("rope_parameters"))


def select(
    parameters: Mapping[str, object], layer_type: str | None
) -> tuple[Mapping[str, object], Mapping[str, object] | None]:
    """Return one layer type's parameters, and the mapping that nests them or None.

    Raises:
        RopeScaleConfigError: If the layer type is not named or has none.
    """
    layers = _nested(parameters)
    if not layers:
        return parameters, None
    if layer_type is None:
        requirement = f"one of {layers}, since rope parameters differ by layer type"
        raise RopeScaleConfigError(expected("layer_type", requirement, None))
    if layer_type not in layers:
        # A layer type with null parameters has no rotary embedding at all.
        raise RopeScaleConfigError(
            expected("layer_type", f"one of {layers}", check.shown(layer_type))
        )
    return _mapping(layer_type, parameters[layer_type]), parameters


def rope_type_of(values: Mapping[str, object], aliases: Mapping[str, str]) -> str:
    """Return the name of the rule, aliases resolved, "default" where there is none.

    Raises:
        RopeScaleConfigError: If it is no name, or there are two.
    """
    names: dict[str, str] = {}
    for key in ("rope_type", "type"):
        value = values.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise RopeScaleConfigError(expected(key, "the name of a rule", check.shown(value)))
        names[key] = aliases.get(value, value)
    if len(set(names.values())) > 1:
        got = f"rope_type={values['rope_type']!r}, type={values['type']!r}"
        raise RopeScaleConfigError(expected("rope_type and type", "one rule", got))
    return next(iter(names.values()), "default")


def _by_layer(
    config: Mapping[str, object],
    model: ModelType,
    old: Mapping[str, object],
    new: Mapping[str, object],
    notes: list[str],
    dialect: Dialect,
) -> Mapping[str, object]:
    """Return rope parameters as a class nests them; flat old ones belong to one of its entries."""
    nested = next((given for given in (old, new) if _nested(given)), _EMPTY)
    flat = _EMPTY if nested is old else old
    if new and not _nested(new):
        requirement = f"parameters of each of {[*model.layers]}"
        got = ", ".join(check.shown(key) for key in [*new][:_SHOWN_KEYS])
        hint = "The class does not read flat ones; they have no effect."
        notes.append(expected("rope_parameters", requirement, got, hint))
    entries: dict[str, object] = dict(nested)
    for name, layer in model.layers.items():
        own = _optional_mapping(name, nested.get(name))
        given = flat if layer.scaled else _EMPTY
        rope_type = "default" if nested.get(name) is None else own.get("rope_type")
        named = given.get("rope_type") is not None or given.get("type") in (None, rope_type)
        if rope_type is not None and not named and dialect.rope_parameters:
            # From Transformers 5 on.
            requirement = f"rope_type, where the class has {rope_type!r} already"
            got, hint = check.shown(given["type"]), "It has no effect: say rope_type."
            notes.append(expected("rope_scaling['type']", requirement, got, hint))
            given = {**given, "rope_type": rope_type, "type": rope_type}
        base = layer.default_theta if layer.theta_key is None else config.get(layer.theta_key)
        entries[name] = {
            "rope_theta": layer.default_theta if base is None else base,
            **own,
            **given,
        }
    return entries


def _nested(parameters: Mapping[str, object]) -> list[str]:
    layers = [key for key, value in parameters.items() if isinstance(value, Mapping)]
    if len(layers) > _MAX_LAYER_TYPES:
        requirement = f"parameters of at most {_MAX_LAYER_TYPES} layer types"
        raise RopeScaleConfigError(expected("rope_parameters", requirement, len(layers)))
    return layers


def _mapping(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise RopeScaleConfigError(expected(name, "a dict of rope parameters", check.shown(value)))
    return value


def _optional_mapping(name: str, value: object) -> Mapping[str, object]:
    return _EMPTY if value is None else _mapping(name, value)
