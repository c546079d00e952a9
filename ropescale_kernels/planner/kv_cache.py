"""Memory of a key-value cache at one length, from a model's config."""

from __future__ import annotations

import dataclasses

from ..errors import RopeScaleConfigError
from ..scaling import validate as check
from ..scaling.config.model_config import ModelConfig
from ..scaling.config.model_types.layer_keys import (
    GLOBAL_KV_HEADS_KEY,
    INDEX_HEAD_DIM_KEY,
    LATENT_KEY,
    SHARED_LAYERS_KEY,
)
from .layers import layer_kinds, window

# Bytes of an element, by the names that configs use. A float32 model is served in 16 bits, as by
# vLLM with --dtype auto.
_BYTES = {"float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
_DEFAULT_DTYPE = "bfloat16"
# Bytes of the float32 scale that vLLM's sparse indexer keeps beside its key.
_INDEX_SCALE = 4
_ALL = "all tokens"
_FP8 = "float8_e4m3fn"


@dataclasses.dataclass(frozen=True)
class KVCache:
    """Memory of one sequence's keys and values.

    Attributes:
        tokens: Length of the sequence.
        dtype: Element type that the config names; bfloat16 if the config names none or float32.
        bytes_per_token: Bytes of one more token in the layers that keep every token.
        bytes: Bytes of the whole sequence.
        bytes_fp8: Bytes of the whole sequence with elements of one byte.
        layers: Number of layers that keep "all tokens", "the last N tokens", "nothing that
            grows", or "those of an earlier layer".
        latent: Whether a layer keeps DeepSeek's compressed latent instead of keys and values.
    """

    tokens: int
    dtype: str
    bytes_per_token: int
    bytes: int
    bytes_fp8: int
    layers: dict[str, int]
    latent: bool


def kv_cache(model: ModelConfig, tokens: int) -> KVCache | str:
    """Return the memory of one sequence's cache, or the reason why that is unknown.

    Args:
        model: The model's config.
        tokens: Length of the sequence.

    Returns:
        The memory, with the keys of a sparse indexer and without an engine's block rounding, or the
        error of a key that is missing or unknown.
    """
    try:
        kinds = layer_kinds(model)
        own = len(kinds) - _shared_layers(model, len(kinds))
        layers = [_layer(model, kind, tokens) for kind in kinds[:own]]
    except RopeScaleConfigError as error:
        return str(error)
    layers += [_Layer("those of an earlier layer", 0, 0, 0)] * (len(kinds) - own)
    dtype = str(model.anywhere("dtype") or model.anywhere("torch_dtype")).removeprefix("torch.")
    name = dtype if dtype in _BYTES else _DEFAULT_DTYPE
    words = [layer.keeps for layer in layers]
    return KVCache(
        tokens=tokens,
        dtype=name,
        bytes_per_token=sum(x.token_bytes(_BYTES[name]) for x in layers if x.keeps == _ALL),
        bytes=sum(layer.tokens * layer.token_bytes(_BYTES[name]) for layer in layers),
        bytes_fp8=sum(layer.tokens * layer.token_bytes(_BYTES[_FP8]) for layer in layers),
        layers={word: words.count(word) for word in dict.fromkeys(words)},
        latent=_is_latent(model),
    )


@dataclasses.dataclass(frozen=True)
class _Layer:
    """The tokens that one layer keeps; elements and bytes of an indexer are of one token."""

    keeps: str
    tokens: int
    elements: int
    index_bytes: int

    def token_bytes(self, element_bytes: int) -> int:
        return self.elements * element_bytes + self.index_bytes


def _shared_layers(model: ModelConfig, count: int) -> int:
    given = model.get(SHARED_LAYERS_KEY)
    if given is None:
        return 0
    return int(check.bounded(SHARED_LAYERS_KEY, given, 0, count, f"0 to {count}"))


def _layer(model: ModelConfig, kind: str, tokens: int) -> _Layer:
    kept = window(model, kind)
    if kept == 0:
        return _Layer("nothing that grows", 0, 0, 0)
    channels = model.optional_length(INDEX_HEAD_DIM_KEY)
    index_bytes = 0 if channels is None else channels + _INDEX_SCALE
    elements = _elements_per_token(model, kind)
    if kept is not None and kept < tokens:
        return _Layer(f"the last {kept:,} tokens", kept, elements, index_bytes)
    return _Layer(_ALL, tokens, elements, index_bytes)


def _is_latent(model: ModelConfig) -> bool:
    return model.get(LATENT_KEY) is not None


def _elements_per_token(model: ModelConfig, kind: str) -> int:
    if _is_latent(model):
        return model.length(LATENT_KEY) + model.length("qk_rope_head_dim")
    head_dim_key = model.facts.layer_head_dim_keys.get(kind)
    if head_dim_key is not None:
        key = GLOBAL_KV_HEADS_KEY
        heads = model.kv_heads() if model.get(key) is None else model.length(key)
        return 2 * heads * model.length(head_dim_key)
    return model.kv_heads() * (model.kv_head_dim() + model.value_head_dim())


def worded_bytes(count: int) -> str:
    """Return a number of bytes in words, in TiB, GiB, MiB or KiB."""
    for unit, size in {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20}.items():
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count / 2**10:.2f} KiB"
