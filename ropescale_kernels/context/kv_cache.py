"""Memory of a key-value cache at one length, from a model's config."""

from __future__ import annotations

import dataclasses

from ropescale_kernels.context.text_config import TextConfig
from ropescale_kernels.errors import RopeScaleConfigError, expected

# Bytes of an element, by the names that configs use.
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
_DEFAULT_DTYPE = "bfloat16"
_FP8 = "float8_e4m3fn"
# What a layer of each type keeps: every token, the last ones only, or nothing that grows.
_WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
_FIXED = frozenset({"linear_attention", "mamba", "conv", "recurrent"})


@dataclasses.dataclass(frozen=True)
class KVCache:
    """Memory of one sequence's keys and values.

    Attributes:
        tokens: Length of the sequence.
        dtype: Element type that the config names, or bfloat16 where it names none.
        bytes_per_token: Of one more token in the layers that keep every token.
        bytes: Of the whole sequence.
        bytes_fp8: The same with elements of one byte.
        layers: How many layers keep "all tokens", "the last N tokens", or "nothing that grows".
        latent: Whether a layer keeps DeepSeek's compressed latent instead of keys and values.
    """

    tokens: int
    dtype: str
    bytes_per_token: int
    bytes: int
    bytes_fp8: int
    layers: dict[str, int]
    latent: bool


def kv_cache(text: TextConfig, tokens: int) -> KVCache | str:
    """Return the memory of one sequence's cache, or why it cannot be told.

    Args:
        text: The text model's config.
        tokens: Length of the sequence.

    Returns:
        The memory, without an engine's block rounding, or the error of a key that is missing.
    """
    try:
        layers = _layer_tokens(text, tokens)
        elements, latent = _elements_per_token(text)
    except RopeScaleConfigError as error:
        return str(error)
    dtype = text.anywhere("dtype") or text.anywhere("torch_dtype")
    name = dtype if isinstance(dtype, str) and dtype in _BYTES else _DEFAULT_DTYPE
    kept = sum(count for _, count in layers)
    growing = sum(1 for word, _ in layers if word == "all tokens")
    words = [word for word, _ in layers]
    return KVCache(
        tokens=tokens,
        dtype=name,
        bytes_per_token=growing * elements * _BYTES[name],
        bytes=kept * elements * _BYTES[name],
        bytes_fp8=kept * elements * _BYTES[_FP8],
        layers={word: words.count(word) for word in dict.fromkeys(words)},
        latent=latent,
    )


def _layer_tokens(text: TextConfig, tokens: int) -> list[tuple[str, int]]:
    kept = []
    for kind in text.layer_types():
        window = text.get(_WINDOWS[kind]) if kind in _WINDOWS else None
        if kind in _FIXED:
            kept.append(("nothing that grows", 0))
        elif isinstance(window, int) and not isinstance(window, bool) and 0 < window < tokens:
            kept.append((f"the last {window:,} tokens", window))
        else:
            kept.append(("all tokens", tokens))
    return kept


def _elements_per_token(text: TextConfig) -> tuple[int, bool]:
    if text.entry.model.layer_head_dim_keys:
        requirement = "heads of one size, to multiply them by the layers"
        raise RopeScaleConfigError(expected("model_type", requirement, repr(text.model_type)))
    if text.get("kv_lora_rank") is not None:
        return text.length("kv_lora_rank") + text.length("qk_rope_head_dim"), True
    return 2 * text.kv_heads() * text.head_dim(), False


def worded_bytes(count: int) -> str:
    """Word a number of bytes in GiB or MiB."""
    for unit, size in {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20}.items():
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count / 2**10:.2f} KiB"
