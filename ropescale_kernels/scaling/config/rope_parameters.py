"""The rope parameters of a config, flat or by layer type, with the defaults of the class."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .class_entries import by_layer_thetas, entry_of_class
from .findings import Findings
from .model_types.model_type import ModelType

_EMPTY: Mapping[str, object] = {}
# Models have two or three layer types. The limit bounds the work for an untrusted config.
_MAX_LAYER_TYPES = 16
# Keys that may stand beside the rope parameters, and another name of a key among them.
_SHARED_KEYS = ("rope_theta", "partial_rotary_factor")
_NAMES = {"type": "rope_type"}


def rope_parameters(
    config: Mapping[str, object], model: ModelType, findings: Findings, *, reads_new_key: bool
) -> Mapping[str, object]:
    """Return the rope parameters of a text model, flat or by layer type.

    Args:
        config: The text model's top-level keys.
        model: Facts about the model type.
        findings: Collector of warnings.
        reads_new_key: Whether the dialect reads the key of Transformers 5.

    Raises:
        RopeScaleConfigError: If the rope parameters are no mapping.
    """
    old = _optional_mapping("rope_scaling", config.get("rope_scaling"))
    new = _optional_mapping("rope_parameters", config.get("rope_parameters"))
    if old and new:
        _compare(config, model, old, new, findings)
    if model.layers:
        return _by_layer(config, model, old, new, findings, reads_new_key)
    given = old or new
    if model.nests and not nested_layer_types(given):
        got = check.shown_keys(given) or "no such key"
        raise RopeScaleConfigError(expected("rope_parameters", "parameters by layer type", got))
    if not given and config.get("rope_parameters") is None:
        given = _optional_mapping("rope_parameters", model.defaults.get("rope_parameters"))
    return by_layer_thetas(config, model, given) if model.layer_theta_key else given


def select(
    parameters: Mapping[str, object], layer_type: str | None
) -> tuple[Mapping[str, object], Mapping[str, object] | None]:
    """Return one layer type's parameters, and the mapping that nests them (None for flat ones).

    Raises:
        RopeScaleConfigError: If the parameters are nested and `layer_type` is no entry of them.
    """
    layers = nested_layer_types(parameters)
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
    return mapping(layer_type, parameters[layer_type]), parameters


def rope_type_of(values: Mapping[str, object], aliases: Mapping[str, str]) -> str:
    """Return the name of the rule, aliases resolved, or "default" if no key names one.

    Raises:
        RopeScaleConfigError: If the value is no name, or if two keys name two rules.
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


def _compare(
    config: Mapping[str, object],
    model: ModelType,
    old: Mapping[str, object],
    new: Mapping[str, object],
    findings: Findings,
) -> None:
    """Note values in which `rope_scaling`, which wins, and `rope_parameters` differ."""
    shared = {key: config.get(key) for key in _SHARED_KEYS}
    given = [{**shared, **{_NAMES.get(key, key): x for key, x in d.items()}} for d in (old, new)]
    differ = [key for key in {**given[0], **given[1]} if given[0].get(key) != given[1].get(key)]
    if not differ:
        return
    read, other = (
        ", ".join(
            f"{check.shown(key)[1:-1]} {check.shown(values[key])}"
            for key in differ[: check.SHOWN_KEYS]
            if values.get(key) is not None
        )
        for values in given
    )
    requirement = f"the values of rope_scaling ({read or 'fewer keys'})"
    if model.layers and nested_layer_types(new) and not nested_layer_types(old):
        # The class puts the flat keys into the entry of one layer type, over the keys there.
        hint = "rope_scaling wins where both have a key."
        findings.note(expected("rope_parameters", requirement, other or "fewer keys", hint))
        return
    hint = "rope_scaling alone is read."
    findings.lose(expected("rope_parameters", requirement, other or "fewer keys", hint))


def _by_layer(
    config: Mapping[str, object],
    model: ModelType,
    old: Mapping[str, object],
    new: Mapping[str, object],
    findings: Findings,
    reads_new_key: bool,
) -> Mapping[str, object]:
    """Return rope parameters as a class nests them; a flat `rope_scaling` belongs to one entry."""
    nested = next((given for given in (old, new) if nested_layer_types(given)), _EMPTY)
    flat = _EMPTY if nested is old else old
    if model.flat == "replaces" and not nested_layer_types(old or new):
        # Such a class reads one of the two, and nests what is flat.
        nested, flat = _EMPTY, old or new
    elif not (model.known or old or nested):
        # Only of known classes is it known that they do not read flat ones.
        flat = new
    elif model.flat == "builds" and nested and flat:
        got = check.shown_keys(flat)
        requirement = "no such key beside parameters by layer type"
        findings.lose(expected("rope_scaling", requirement, got, "It has no effect."))
        flat = _EMPTY
    elif new and not nested_layer_types(new):
        requirement = f"parameters of each of {[*model.layers]}"
        got = check.shown_keys(new)
        hint = "The class does not read flat ones; they have no effect."
        findings.lose(expected("rope_parameters", requirement, got, hint))
    if flat and not any(layer.scaled for layer in model.layers.values()):
        requirement = f"parameters of each of {[*model.layers]}, the only ones that the class reads"
        got = check.shown_keys(flat)
        raise RopeScaleConfigError(expected("rope_scaling", requirement, got))
    entries: dict[str, object] = dict(nested)
    for name, layer in model.layers.items():
        own = _optional_mapping(name, nested.get(name))
        given = flat if layer.scaled else _EMPTY
        rope_type = "default" if nested.get(name) is None else own.get("rope_type")
        named = given.get("rope_type") is not None or given.get("type") in (None, rope_type)
        if rope_type is not None and not named and reads_new_key and model.flat != "replaces":
            # Transformers 5 reads rope_type first, and the class has set one.
            requirement = f"rope_type, where the class has {rope_type!r} already"
            got, hint = check.shown(given["type"]), "It has no effect: say rope_type."
            findings.note(expected("rope_scaling['type']", requirement, got, hint))
            given = {**given, "rope_type": rope_type, "type": rope_type}
        if "yarn" in (given.get("rope_type"), given.get("type")):
            given = {**layer.yarn, **given}
        for key in layer.keeps & given.keys():
            requirement = f"no such key beside the base and the share of the {name!r} layers"
            got = check.shown(given[key])
            findings.note(expected(f"rope_scaling[{key!r}]", requirement, got, "It has no effect."))
        given = {key: value for key, value in given.items() if key not in layer.keeps}
        by_itself = entry_of_class(config, model, name, given=nested.get(name) is not None)
        if given and layer.scaled_like:
            other = entry_of_class(config, model, layer.scaled_like, given=False)
            by_itself["rope_theta"] = other["rope_theta"]
        if not model.known and flat.get("partial_rotary_factor") is not None:
            by_itself["partial_rotary_factor"] = flat["partial_rotary_factor"]
        entries[name] = {**by_itself, **own, **given}
    return entries


def nested_layer_types(parameters: Mapping[str, object]) -> list[str]:
    """Return the layer types that nest rope parameters, or [] for flat parameters.

    Raises:
        RopeScaleConfigError: If there are too many layer types.
    """
    layers = [key for key, value in parameters.items() if isinstance(value, Mapping)]
    if len(layers) > _MAX_LAYER_TYPES:
        requirement = f"parameters of at most {_MAX_LAYER_TYPES} layer types"
        raise RopeScaleConfigError(expected("rope_parameters", requirement, len(layers)))
    return layers


def mapping(name: str, value: object) -> Mapping[str, object]:
    """Return a value that must be a mapping."""
    if not isinstance(value, Mapping):
        raise RopeScaleConfigError(expected(name, "a dict of rope parameters", check.shown(value)))
    return value


def _optional_mapping(name: str, value: object) -> Mapping[str, object]:
    return _EMPTY if value is None else mapping(name, value)
