"""Facts about layers: the keys and names that tell which tokens a layer attends to and keeps."""

from __future__ import annotations

FULL, SLIDING, CHUNKED, LINEAR = (
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "linear_attention",
)
# Names of layers in configs, by what a layer keeps: every token (FULL), the last tokens (SLIDING,
# CHUNKED), or nothing that grows (LINEAR). A layer "moe" is a block without attention.
LAYER_NAMES = {
    **dict.fromkeys((FULL, "attention", "indexed_attention", "hybrid"), FULL),
    **dict.fromkeys((SLIDING, "hybrid_sliding"), SLIDING),
    CHUNKED: CHUNKED,
    **dict.fromkeys((LINEAR, "mamba", "conv", "recurrent", "moe"), LINEAR),
}
# Keys that list the name of each layer.
NAMES_KEYS = ("layer_types", "layers_block_type")
# Key that lists 1 for each layer that attends to everything, and another number for LINEAR ones.
SIGNS_KEY = "attn_type_list"
# Keys that list the indices of the layers that attend to everything, and the kind of the others.
INDICES_KEYS = {"attn_layer_indices": LINEAR, "full_attn_idxs": LINEAR}
# Keys of a period whose last layer attends to everything, and the kind of the other layers.
PERIOD_KEYS = {
    "full_attention_interval": LINEAR,
    "layer_group_size": LINEAR,
    "global_attn_every_n_layers": SLIDING,
}
# The same for sliding windows; a str such as "LLLG" is a pattern as long as the period.
PATTERN_KEY = "sliding_window_pattern"
# Keys that make layers differ in ways that are not counted.
UNCOUNTED_KEYS = (
    "block_configs",
    "cross_attention_layers",
    "hybrid_layer_pattern",
    "hybrid_override_pattern",
    "per_layer_config",
)
# Keys of the tokens that a layer sees.
WINDOW_KEYS = {SLIDING: "sliding_window", CHUNKED: "attention_chunk_size"}

# Keys of the channels of a head, the first that a config has.
HEAD_DIM_KEYS = ("head_dim", "kv_channels", "d_kv")
# Keys of the number of heads of keys and values, the first that a config has.
KV_HEADS_KEYS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads")
# DBRX and MPT: the part of a config, and the key inside it.
KV_HEADS_PART = ("attn_config", "kv_n_heads")
# Gemma 4: layers that see everything have another number of heads.
GLOBAL_KV_HEADS_KEY = "num_global_key_value_heads"
# Gemma 3n and 4: number of last layers that read the keys and values of earlier layers.
SHARED_LAYERS_KEY = "num_kv_shared_layers"
# DeepSeek: channels of the latent that a layer keeps instead of keys and values.
LATENT_KEY = "kv_lora_rank"
# Channels of the key that a sparse indexer keeps in addition, one byte each.
INDEX_HEAD_DIM_KEY = "index_head_dim"
