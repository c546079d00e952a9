"""Facts about lengths: lengths of training by model card, and the keys that name a length."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# By model type and max_position_embeddings: L, and the length that the model serves unscaled.
# The max_position_embeddings of these configs is not the length of training. Only the model cards
# name that length. Qwen3 and QwQ were trained on 32,768 tokens. Qwen3's cards serve 40,960 tokens
# unscaled: 32,768 for an output, and 8,192 for a prompt. Qwen2.5-VL's YaRN settings count from
# 32,768.
MODEL_CARDS: Mapping[tuple[str, int], tuple[int, int]] = MappingProxyType(
    {
        ("qwen3", 40_960): (32_768, 40_960),
        ("qwen3_moe", 40_960): (32_768, 40_960),
        ("qwen2", 40_960): (32_768, 40_960),
        ("qwen2_5_vl", 128_000): (32_768, 32_768),
        ("qwen2_5_vl_text", 128_000): (32_768, 32_768),
    }
)
MAXIMUM_KEY = "max_position_embeddings"
# Other keys of the longest length. The largest value counts.
PROMISED_KEYS = ("model_max_length", "max_sequence_length")
LENGTH_KEYS = (MAXIMUM_KEY, *PROMISED_KEYS)
ORIGINAL_KEY = "original_max_position_embeddings"
# Qwen2.5-1M: L stands inside this key. Beyond L the model uses dual chunk attention.
DUAL_CHUNK_KEY = "dual_chunk_attention_config"
