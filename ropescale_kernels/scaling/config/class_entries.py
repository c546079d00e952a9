"""What a class makes of top-level keys for one layer type: its base, its share, its sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .model_types.layer_keys import NAMES_KEYS
from .model_types.model_type import LayerType, ModelType

# A config is untrusted, and so is the length of its lists.
_MAX_LAYERS = 10_000
_SHOWN_VALUES = 4


def entry_of_class(
    config: Mapping[str, object], model: ModelType, name: str, *, given: bool
) -> dict[str, object]:
    """Return the rope parameters that a class gives one layer type by itself.

    Args:
        config: The text model's top-level keys.
        model: Facts about the model type.
        name: The layer type, one of `model.layers`.
        given: Whether the config has an entry of that layer type.

    Raises:
        RopeScaleConfigError: If a list by layer does not give the layer type one value.
    """
    layer = model.layers[name]
    entry = {} if given and not layer.fills else dict(layer.parameters)
    if given and model.flat == "builds":
        # Such a class reads its old keys only if the config nests nothing.
        return {"rope_theta": layer.default_theta, **entry}
    base = _of_layer(config, model, layer.theta_key, name)
    share = _of_layer(config, model, layer.share_key, name)
    if share is None and layer.rotary_dim_key:
        share = _share(config, model, name, layer)
    if share is not None:
        entry["partial_rotary_factor"] = share
    return {"rope_theta": layer.default_theta if base is None else base, **entry}


def by_layer_thetas(
    config: Mapping[str, object], model: ModelType, parameters: Mapping[str, object]
) -> Mapping[str, object]:
    """Return flat rope parameters with the base that a list by layer names.

    Args:
        config: The text model's top-level keys.
        model: Facts about the model type; its `layer_theta_key` is the list's.
        parameters: Flat rope parameters.

    Returns:
        Flat parameters if all layers that rotate have one base. Otherwise parameters by layer type,
        None for a layer type that does not rotate.

    Raises:
        RopeScaleConfigError: If the layers of one type have two bases.
    """
    given = config.get(model.layer_theta_key)
    if not isinstance(given, (list, tuple)) or not given:
        return parameters
    bases = {check.shown(base): base for base in given if base}
    if len(bases) == 1:
        return {**parameters, "rope_theta": bases.popitem()[1]}
    key = model.layer_theta_key
    names = dict.fromkeys(str(name) for name in _layer_names(config, model, len(given), key))
    found = {name: _of_layer(config, model, key, name) for name in names}
    return {
        name: {**parameters, "rope_theta": base} if base else None for name, base in found.items()
    }


def layer_sizes(config: Mapping[str, object], key: str) -> dict[int, object]:
    """Return the sizes that `per_layer_config` gives, by the index of the layer."""
    layers = config.get("per_layer_config")
    return {
        int(str(index)): values[key]
        for index, values in (layers.items() if isinstance(layers, Mapping) else ())
        if re.fullmatch(r"[0-9]{1,5}", str(index))
        and isinstance(values, Mapping)
        and values.get(key) is not None
    }


def own_size(config: Mapping[str, object], model: ModelType, name: str | None, key: str) -> object:
    """Return a size that `per_layer_config` gives the layers of one type, or None.

    Args:
        config: The text model's top-level keys.
        model: Facts about the model type.
        name: The layer type, or None if one entry of rope parameters serves all layers.
        key: The size.

    Raises:
        RopeScaleConfigError: If the layers of that type have different sizes.
    """
    sizes = layer_sizes(config, key)
    if not sizes or name is None:
        return None
    names = _layer_names(config, model, None, "per_layer_config")
    own = (sizes.get(index) for index, layer_name in enumerate(names) if layer_name == name)
    return _one_value("per_layer_config", f"one {key}", name, own)


def _share(
    config: Mapping[str, object], model: ModelType, name: str, layer: LayerType
) -> float | None:
    key = layer.rotary_dim_key
    if (channels := config.get(key) or model.defaults.get(key)) is None:
        return None
    key = model.layer_head_dim_keys.get(name, model.head_dim_key)
    head_dim = config.get(key) or model.defaults.get(key)
    return check.dimension(layer.rotary_dim_key, channels) / check.dimension(key, head_dim)


def _of_layer(config: Mapping[str, object], model: ModelType, key: str | None, name: str) -> object:
    """Return the value of a key for one layer type; the key may list a value for each layer."""
    value = config.get(key) if key else None
    if not key or not isinstance(value, (list, tuple)):
        return value
    names = _layer_names(config, model, len(value), key)
    own = (item for item, layer in zip(value, names, strict=False) if layer == name)
    return _one_value(key, "one value", name, own)


def _one_value(key: str, what: str, name: str, values: Iterable[object]) -> object:
    """Return the value that the layers of one type share, or None without such layers."""
    own = {check.shown(value): value for value in values}
    if len(own) > 1:
        requirement = f"{what} for the layers of type {name!r}"
        got = ", ".join([*own][:_SHOWN_VALUES])
        raise RopeScaleConfigError(expected(key, requirement, got))
    return next(iter(own.values()), None)


def _layer_names(
    config: Mapping[str, object], model: ModelType, count: int | None, key: str
) -> list[object]:
    """Return the type of each layer: the config's list, or the pattern of the class."""
    for names_key in NAMES_KEYS:
        if isinstance(names := config.get(names_key), (list, tuple)):
            return list(names[:_MAX_LAYERS])
    layers = config.get("num_hidden_layers") if count is None else count
    pattern = model.layer_pattern
    if not pattern or not isinstance(layers, int) or isinstance(layers, bool):
        requirement = f"the type of each layer, because {key} differs by layer"
        raise RopeScaleConfigError(expected(NAMES_KEYS[0], requirement, "no such key"))
    return [pattern[index % len(pattern)] for index in range(min(layers, _MAX_LAYERS))]
