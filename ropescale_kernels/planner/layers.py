"""What each layer attends to, and so what it keeps of a sequence."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import RopeScaleConfigError, expected
from ..scaling import validate as check
from ..scaling.config.model_config import ModelConfig
from ..scaling.config.model_types.table import UNKNOWN

FULL, SLIDING, CHUNKED, LINEAR = (
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "linear_attention",
)
# A config is untrusted, and a list of layers is made from this number.
_MAX_LAYERS = 10_000
# Names in configs, by what they keep: every token, the last ones, or nothing that grows ("moe" is a
# block without attention).
_NAMES = {
    **dict.fromkeys((FULL, "attention", "indexed_attention", "hybrid"), FULL),
    **dict.fromkeys((SLIDING, "hybrid_sliding"), SLIDING),
    CHUNKED: CHUNKED,
    **dict.fromkeys((LINEAR, "mamba", "conv", "recurrent", "moe"), LINEAR),
}
# Keys that say which layers attend to everything, and what the others do: by their indices, or as
# the last one of so many.
_INDICES = {"attn_layer_indices": LINEAR, "full_attn_idxs": LINEAR}
_PERIODS = {
    "full_attention_interval": LINEAR,
    "layer_group_size": LINEAR,
    "global_attn_every_n_layers": SLIDING,
}
_UNCOUNTED = (
    "block_configs",
    "cross_attention_layers",
    "hybrid_layer_pattern",
    "hybrid_override_pattern",
    "per_layer_config",
)
_WINDOWS = {SLIDING: "sliding_window", CHUNKED: "attention_chunk_size"}


def layer_kinds(model: ModelConfig) -> list[str]:
    """Return what each layer attends to: FULL, SLIDING, CHUNKED, or LINEAR for a fixed state.

    Args:
        model: The model's config.

    Raises:
        RopeScaleConfigError: If the number of layers is missing or out of bounds, or what they are
            is not known.
    """
    count = int(
        check.bounded(
            "num_hidden_layers", model.present("num_hidden_layers"), 1, _MAX_LAYERS,
            f"an integer from 1 to {_MAX_LAYERS}",
        )
    )  # fmt: skip
    for key in _UNCOUNTED:
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
    """Return the most tokens that any layer sees, or None where one sees all, or it is not known.

    Args:
        model: The model's config.
        without: Kinds of layers to leave out.
    """
    try:
        windows = [window(model, kind) for kind in set(layer_kinds(model)) - set(without)]
    except RopeScaleConfigError:
        # The memory of the cache cannot be told then, either.
        return None
    return max((kept for kept in windows if kept), default=None) if None not in windows else None


def window(model: ModelConfig, kind: str) -> int | None:
    """Return how many tokens a layer of this kind keeps: 0 for a fixed state, None for all.

    Raises:
        RopeScaleConfigError: If the config gives no number of tokens.
    """
    if kind == LINEAR:
        return 0
    value = _value(model, _WINDOWS[kind]) if kind in _WINDOWS else None
    return None if value is None else check.length(_WINDOWS[kind], value)


def _value(model: ModelConfig, key: str) -> object:
    # A null in the file takes a class's default away.
    config = model.rope.config
    return None if key in config and config[key] is None else model.get(key)


def _listed(model: ModelConfig, count: int) -> list[str] | None:
    for key in ("layer_types", "layers_block_type"):
        if (given := model.get(key)) is not None:
            return [_known(key, name) for name in _items(key, given, count)]
    if (given := model.get("attn_type_list")) is not None:
        signs = _items("attn_type_list", given, count)
        return [FULL if sign == 1 else LINEAR for sign in signs]
    return None


def _items(key: str, given: object, count: int) -> list[object]:
    if not isinstance(given, (list, tuple)) or len(given) != count:
        requirement = f"a list of {count}, one for each layer"
        raise RopeScaleConfigError(expected(key, requirement, check.shown(given)))
    return list(given)


def _known(key: str, name: object) -> str:
    if not isinstance(name, str) or name not in _NAMES:
        raise RopeScaleConfigError(expected(key, f"some of {sorted(_NAMES)}", check.shown(name)))
    return _NAMES[name]


def _indexed(model: ModelConfig, count: int) -> list[str] | None:
    for key, other in _INDICES.items():
        if isinstance(given := model.get(key), (list, tuple)):
            indices = {index for index in given if isinstance(index, int)}
            return [FULL if index in indices else other for index in range(count)]
    return None


def _periodic(model: ModelConfig, count: int) -> list[str] | None:
    for key, other in _PERIODS.items():
        if (period := model.optional_length(key)) is not None:
            return _every(period, other, count)
    pattern = model.get("sliding_window_pattern")
    if pattern is None or _value(model, "sliding_window") is None:
        return None
    # Written out, "LLLG" is a pattern of four.
    written = len(pattern) if isinstance(pattern, str) else pattern
    return _every(check.length("sliding_window_pattern", written), SLIDING, count)


def _every(period: int, other: str, count: int) -> list[str]:
    return [other if (index + 1) % period else FULL for index in range(count)]


def _chunked(model: ModelConfig, count: int) -> list[str] | None:
    rotated = model.get("no_rope_layers")
    if (
        _value(model, "attention_chunk_size") is None
        or not isinstance(rotated, list)
        or not rotated
    ):
        return None
    return [CHUNKED if sign else FULL for sign in _items("no_rope_layers", rotated, count)]


def _of_class(model: ModelConfig, count: int) -> list[str]:
    if model.get("use_sliding_window") is True:
        first = model.get("max_window_layers")
        first = 0 if first is None else check.length("max_window_layers", first, low=0)
        return [SLIDING if index >= first else FULL for index in range(count)]
    if repeated := model.facts.layer_pattern:
        return [repeated[index % len(repeated)] for index in range(count)]
    slides = model.get("sliding_window") is not None and model.get("use_sliding_window") is None
    if model.facts is UNKNOWN and slides:
        requirement = "no window in an unknown model type, where nothing says which layers have it"
        got = check.shown(model.get("sliding_window"))
        raise RopeScaleConfigError(expected("sliding_window", requirement, got))
    return [FULL] * count
