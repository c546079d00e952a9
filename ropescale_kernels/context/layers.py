"""What each layer attends to, and so what it keeps of a sequence."""

from __future__ import annotations

from ropescale_kernels.context.text_config import TextConfig
from ropescale_kernels.errors import RopeScaleConfigError, expected
from ropescale_kernels.scaling import _validate as check
from ropescale_kernels.scaling.model_types import UNKNOWN

FULL, SLIDING, CHUNKED, LINEAR = (
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "linear_attention",
)
# A config is untrusted, and a list of layers is made from this number.
_MAX_LAYERS = 10_000
_LISTS = ("layer_types", "layers_block_type")
# Names in configs, by what they keep: every token, the last ones, or nothing that grows.
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
# One sign a layer.
_SIGNS = {"hybrid_override_pattern": "*", "attn_type_list": 1}
_WINDOWS = {SLIDING: "sliding_window", CHUNKED: "attention_chunk_size"}


def layer_kinds(text: TextConfig) -> list[str]:
    """Return what each layer attends to: FULL, SLIDING, CHUNKED, or LINEAR for a fixed state.

    Args:
        text: The text model's config.

    Raises:
        RopeScaleConfigError: If the number of layers is missing or out of bounds, or a layer's type
            is unknown.
    """
    count = int(
        check.bounded(
            "num_hidden_layers", text.present("num_hidden_layers"), 1, _MAX_LAYERS,
            f"an integer from 1 to {_MAX_LAYERS}",
        )
    )  # fmt: skip
    for key in _LISTS:
        given = text.get(key)
        if isinstance(given, list) and len(given) == count:
            return [_known(key, name) for name in given]
    for key, full in _SIGNS.items():
        given = text.get(key)
        if isinstance(given, (list, str)) and len(given) == count:
            return [FULL if sign == full else LINEAR for sign in given]
    if text.get("block_configs") is not None:
        requirement = "no blocks of their own kinds, which are not counted here"
        raise RopeScaleConfigError(expected("block_configs", requirement, "such a key"))
    return [_kind(text, index) for index in range(count)]


def _known(key: str, name: object) -> str:
    if not isinstance(name, str) or name not in _NAMES:
        raise RopeScaleConfigError(expected(key, f"some of {sorted(_NAMES)}", check.shown(name)))
    return _NAMES[name]


def _kind(text: TextConfig, index: int) -> str:
    for key, other in _INDICES.items():
        if isinstance(indices := text.get(key), (list, tuple)):
            return FULL if index in indices else other
    for key, other in _PERIODS.items():
        if (period := text.optional_length(key)) is not None:
            return other if (index + 1) % period else FULL
    if (period := text.optional_length("attn_layer_period")) is not None:
        return FULL if index % period == text.get("attn_layer_offset") else LINEAR
    pattern = text.get("sliding_window_pattern")
    if pattern is not None and text.get("sliding_window") is not None:
        # Written out, "LLLG" is a pattern of four.
        written = len(pattern) if isinstance(pattern, str) else pattern
        period = check.length("sliding_window_pattern", written)
        return SLIDING if (index + 1) % period else FULL
    no_rope = text.get("no_rope_layers")
    if text.get("attention_chunk_size") is not None and isinstance(no_rope, list) and no_rope:
        return CHUNKED if index < len(no_rope) and no_rope[index] else FULL
    if text.get("use_sliding_window") is True:
        first = text.optional_length("max_window_layers") or 0
        return SLIDING if index >= first else FULL
    if repeated := text.entry.model.layer_pattern:
        return repeated[index % len(repeated)]
    # Of an unknown class, a window is all that is known.
    slides = text.entry.model is UNKNOWN and text.get("use_sliding_window") is None
    return SLIDING if slides and text.get("sliding_window") is not None else FULL


def window(text: TextConfig, kind: str) -> int | None:
    """Return how many tokens a layer of this kind keeps: 0 for a fixed state, None for all."""
    if kind == LINEAR:
        return 0
    return text.optional_length(_WINDOWS[kind]) if kind in _WINDOWS else None
