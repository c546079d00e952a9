"""The kind of each layer: which tokens the layer attends to, and so keeps."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import RopeScaleConfigError, expected
from ..scaling import validate as check
from ..scaling.config.model_config import ModelConfig
from ..scaling.config.model_types.layer_keys import (
    CHUNKED,
    FULL,
    INDICES_KEYS,
    LAYER_NAMES,
    LINEAR,
    NAMES_KEYS,
    PATTERN_KEY,
    PERIOD_KEYS,
    SIGNS_KEY,
    SLIDING,
    UNCOUNTED_KEYS,
    WINDOW_KEYS,
)

# A config is untrusted, and a list of layers is made from this number.
_MAX_LAYERS = 10_000


def layer_kinds(model: ModelConfig) -> list[str]:
    """Return the kind of each layer: FULL, SLIDING, CHUNKED, or LINEAR for a fixed state.

    Args:
        model: The model's config.

    Raises:
        RopeScaleConfigError: If the number of layers is missing or out of bounds, or if the kinds
            are unknown.
    """
    count = int(
        check.bounded(
            "num_hidden_layers", model.present("num_hidden_layers"), 1, _MAX_LAYERS,
            f"an integer from 1 to {_MAX_LAYERS}",
        )
    )  # fmt: skip
    for key in UNCOUNTED_KEYS:
        if (given := model.get(key)) is not None:
            requirement = "no such key: layers that differ so are not counted"
            raise RopeScaleConfigError(expected(key, requirement, check.shown(given)))
    return (
        _listed(model, count)
        or _indexed(model, count)
        or _periodic(model, count)
        or _chunked(model, count)
        or _of_class(model, count)
    )


def widest_window(model: ModelConfig, without: Collection[str] = ()) -> int | None:
    """Return the most tokens that any layer sees; None if one sees all, or if that is unknown.

    Args:
        model: The model's config.
        without: Kinds of layers to leave out.
    """
    try:
        windows = [window(model, kind) for kind in set(layer_kinds(model)) - set(without)]
    except RopeScaleConfigError:
        # The plan then says that the memory of the cache is unknown.
        return None
    return max((kept for kept in windows if kept), default=None) if None not in windows else None


def window(model: ModelConfig, kind: str) -> int | None:
    """Return how many tokens a layer of this kind keeps: 0 for a fixed state, None for all.

    Raises:
        RopeScaleConfigError: If the config gives no number of tokens.
    """
    if kind == LINEAR:
        return 0
    value = _value(model, WINDOW_KEYS[kind]) if kind in WINDOW_KEYS else None
    return None if value is None else check.length(WINDOW_KEYS[kind], value)


def _value(model: ModelConfig, key: str) -> object:
    # A null in the file takes a class's default away.
    config = model.rope.config
    return None if key in config and config[key] is None else model.get(key)


def _listed(model: ModelConfig, count: int) -> list[str] | None:
    for key in NAMES_KEYS:
        if (given := model.get(key)) is not None:
            return [_known(key, name) for name in _items(key, given, count)]
    if (given := model.get(SIGNS_KEY)) is not None:
        signs = _items(SIGNS_KEY, given, count)
        return [FULL if sign == 1 else LINEAR for sign in signs]
    return None


def _items(key: str, given: object, count: int) -> list[object]:
    if not isinstance(given, (list, tuple)) or len(given) != count:
        requirement = f"a list of {count}, one for each layer"
        raise RopeScaleConfigError(expected(key, requirement, check.shown(given)))
    return list(given)


def _known(key: str, name: object) -> str:
    if not isinstance(name, str) or name not in LAYER_NAMES:
        raise RopeScaleConfigError(
            expected(key, f"some of {sorted(LAYER_NAMES)}", check.shown(name))
        )
    return LAYER_NAMES[name]


def _indexed(model: ModelConfig, count: int) -> list[str] | None:
    for key, other in INDICES_KEYS.items():
        if isinstance(given := model.get(key), (list, tuple)):
            indices = {index for index in given if isinstance(index, int)}
            return [FULL if index in indices else other for index in range(count)]
    return None


def _periodic(model: ModelConfig, count: int) -> list[str] | None:
    for key, other in PERIOD_KEYS.items():
        if (period := model.optional_length(key)) is not None:
            return _every(period, other, count)
    pattern = model.get(PATTERN_KEY)
    if pattern is None or _value(model, WINDOW_KEYS[SLIDING]) is None:
        return None
    # Written out, "LLLG" is a pattern of four.
    written = len(pattern) if isinstance(pattern, str) else pattern
    return _every(check.length(PATTERN_KEY, written), SLIDING, count)


def _every(period: int, other: str, count: int) -> list[str]:
    return [other if (index + 1) % period else FULL for index in range(count)]


def _chunked(model: ModelConfig, count: int) -> list[str] | None:
    rotated = model.get("no_rope_layers")
    if _value(model, WINDOW_KEYS[CHUNKED]) is None or not isinstance(rotated, list) or not rotated:
        return None
    return [CHUNKED if sign else FULL for sign in _items("no_rope_layers", rotated, count)]


def _of_class(model: ModelConfig, count: int) -> list[str]:
    if model.get("use_sliding_window") is True:
        first = model.get("max_window_layers")
        first = 0 if first is None else check.length("max_window_layers", first, low=0)
        return [SLIDING if index >= first else FULL for index in range(count)]
    if model.facts.uncounted_layers:
        requirement = f"the type of each layer, which the class of {model.model_type} alone knows"
        raise RopeScaleConfigError(expected("layer_types", requirement, "no such key"))
    if repeated := model.facts.layer_pattern:
        return [repeated[index % len(repeated)] for index in range(count)]
    slides = model.get("sliding_window") is not None and model.get("use_sliding_window") is None
    if not model.facts.known and slides:
        requirement = "no window in an unknown model type, where nothing says which layers have it"
        got = check.shown(model.get("sliding_window"))
        raise RopeScaleConfigError(expected("sliding_window", requirement, got))
    return [FULL] * count
