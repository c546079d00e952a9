"""One row for each model type: key names and defaults of the configuration class.

A published config.json leaves out the values that the class supplies. The parity tests compare
every row with the installed Transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from .further_rows import FURTHER
from .model_type import Axes, LayerType, ModelType
from .nested_rows import NESTED
from .shared_facts import AXES_QWEN2, AXES_QWEN3, GEMMA_LAYERS, GPT_OSS_ROPE, PLAIN

# Unknown model types apply partial_rotary_factor even without scaling, because the behaviour of
# their class is not known.
UNKNOWN = ModelType(known=False, partial_in_default=True)

_GLOBAL = frozenset({"full_attention"})
_SLIDING = ModelType(layer_pattern=("sliding_attention",))
_SLIDING_4096 = dataclasses.replace(_SLIDING, defaults={"sliding_window": 4096})
_APERTUS_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 1.2e7,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
_CWM_ROPE = {**_APERTUS_ROPE, "rope_theta": 1e6, "factor": 16.0}
_MINISTRAL3_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}


_AXES_QWEN3_5 = Axes((11, 11, 10), interleaved=True)
_QWEN3_5: dict[str, object] = {"head_dim": 256, "full_attention_interval": 4}
_AXES_GLM = Axes((8, 12, 12), interleaved=False)
_OLD_MROPE = MappingProxyType({"mrope": "default"})
_LLAMA4_SCALING = frozenset({"llama_4_scaling_beta", "max_position_embeddings"})
_MISTRAL4_ROPE = {
    **_MINISTRAL3_ROPE,
    "rope_theta": 1e4,
    "factor": 128.0,
    "original_max_position_embeddings": 8192,
}


def _theta(rope_theta: float, **defaults: object) -> ModelType:
    return ModelType(defaults={"rope_theta": rope_theta, **defaults})


def _head(head_dim: int) -> ModelType:
    return ModelType(defaults={"head_dim": head_dim})


def _partial(share: float, axes: Axes | None = None, **defaults: object) -> ModelType:
    shares = {"partial_rotary_factor": share, **defaults}
    return ModelType(defaults=shares, partial_in_default=True, axes=axes)


def _windows(period: int, sliding_window: int = 4096) -> dict[str, object]:
    return {"sliding_window_pattern": period, "sliding_window": sliding_window}


def _local(period: int) -> ModelType:
    """Return a row of windows; each `period`-th layer sees everything and does not rotate."""
    return ModelType(defaults=_windows(period), layers_without_rope=_GLOBAL)


def _mla(channels: int = 64, **defaults: object) -> ModelType:
    """Return a row of DeepSeek's attention (MLA), which rotates extra channels of each head."""
    return ModelType(
        defaults={"qk_rope_head_dim": channels, **defaults},
        head_dim_key="qk_rope_head_dim",
        softmax_mscale=True,
    )


def _axes(
    axes: Axes, rope_theta: float, *, builds_text_config: bool = False, **defaults: object
) -> ModelType:
    return ModelType(
        defaults={"rope_theta": rope_theta, **defaults},
        aliases=_OLD_MROPE,
        axes=axes,
        builds_text_config=builds_text_config,
    )


_LLAMA4 = ModelType(
    defaults={"rope_theta": 5e5, "head_dim": 128, "attention_chunk_size": 8192},
    layer_pattern=(*3 * ("chunked_attention",), "full_attention"),
    layers_without_rope=_GLOBAL,
)
MODEL_TYPES: Mapping[str, ModelType] = MappingProxyType(
    {
        **NESTED,
        **FURTHER,
        "llama": PLAIN,
        "mistral": _SLIDING_4096,
        "qwen2": PLAIN,
        "qwen2_moe": PLAIN,
        "olmo2": PLAIN,
        "olmo": PLAIN,
        "falcon": ModelType(defaults={"max_position_embeddings": 2048, "multi_query": True}),
        "granite": PLAIN,
        "granitemoe": PLAIN,
        "starcoder2": _SLIDING,
        "ministral": dataclasses.replace(_SLIDING_4096, needs_head_dim=True),
        "arcee": PLAIN,
        "qwen3": _head(128),
        "gemma": _head(256),
        "gemma2": ModelType(defaults={"head_dim": 256, **_windows(2)}),
        "seed_oss": _head(128),
        "qwen3_moe": PLAIN,
        "mixtral": dataclasses.replace(_SLIDING, defaults={"rope_theta": 1e6}, needs_head_dim=True),
        "cohere": _theta(5e5),
        "cohere2": _local(4),
        "smollm3": _theta(2e6),
        "llama4": _LLAMA4,
        "llama4_text": _LLAMA4,
        "mllama_text_model": _theta(5e5),
        "ernie4_5": _theta(5e5, head_dim=128),
        "hunyuan_v1_dense": ModelType(needs_head_dim=True, ntk_alpha=True),
        "hunyuan_v1_moe": ModelType(needs_head_dim=True, ntk_alpha=True),
        "exaone4": _local(4),
        "minimax_m2": ModelType(
            defaults={"rope_theta": 5e6, "head_dim": 128},
            rotary_dim_key="rotary_dim",
            partial_in_default=True,
        ),
        "qwen3_next": _partial(0.25, head_dim=256, full_attention_interval=4),
        "qwen2_vl": _axes(AXES_QWEN2, 1e6, builds_text_config=True),
        "qwen2_vl_text": _axes(AXES_QWEN2, 1e6),
        "qwen2_5_vl": _axes(AXES_QWEN2, 1e6, builds_text_config=True),
        "qwen2_5_vl_text": _axes(AXES_QWEN2, 1e6),
        "qwen2_5_omni_text": _axes(AXES_QWEN2, 1e6),
        "qwen3_vl": _axes(AXES_QWEN3, 5e5, head_dim=128),
        "qwen3_vl_text": _axes(AXES_QWEN3, 5e5, head_dim=128),
        "qwen3_vl_moe": _axes(AXES_QWEN3, 5e5),
        "qwen3_vl_moe_text": _axes(AXES_QWEN3, 5e5),
        "qwen3_omni_moe_text": _axes(AXES_QWEN3, 1e6),
        "qwen3_5_text": _partial(0.25, _AXES_QWEN3_5, **_QWEN3_5),
        "qwen3_5_moe_text": _partial(0.25, _AXES_QWEN3_5, **_QWEN3_5),
        "paddleocr_vl_text": _axes(AXES_QWEN2, 5e5, head_dim=128),
        "glm4v_text": ModelType(partial_in_default=True, aliases=_OLD_MROPE, axes=_AXES_GLM),
        "glm4v_moe_text": _partial(0.5, _AXES_GLM),
        "glm_ocr_text": ModelType(partial_in_default=True, axes=_AXES_GLM),
        "deepseek_v2": _mla(),
        "deepseek_v3": _mla(),
        "deepseek_v32": _mla(),
        "glm_moe_dsa": _mla(),
        "kimi_k2": _mla(),
        "gpt_oss": _theta(1.5e5, head_dim=64, rope_parameters=GPT_OSS_ROPE, **_windows(2, 128)),
        "afmoe": ModelType(
            defaults={"head_dim": 128, "global_attn_every_n_layers": 4, "sliding_window": 1024},
            layers_without_rope=_GLOBAL,
        ),
        "apertus": ModelType(defaults={"rope_theta": 1.2e7, "rope_parameters": _APERTUS_ROPE}),
        "aria_text": PLAIN,
        "axk1": _mla(),
        "bailing_hybrid": _mla(rope_theta=6e6, layer_group_size=6),
        "bamba": _partial(0.5, attn_layer_indices=()),
        "bitnet": _theta(5e5),
        "cwm": ModelType(
            defaults={
                "head_dim": 128,
                "rope_theta": 1e6,
                "sliding_window": 8192,
                "rope_parameters": _CWM_ROPE,
            },
            layer_pattern=("full_attention", *3 * ("sliding_attention",)),
        ),
        "diffllama": PLAIN,
        "doge": PLAIN,
        "dots1": PLAIN,
        "ernie4_5_moe": _theta(5e5),
        "eurobert": PLAIN,
        "exaone_moe": _local(4),
        "falcon_h1": PLAIN,
        "flex_olmo": _theta(5e5),
        "glm4_moe_lite": dataclasses.replace(_mla(), partial_in_default=True),
        "granitemoehybrid": ModelType(
            defaults={"position_embedding_type": "nope"},
            rotates_if=("position_embedding_type", "rope"),
            layer_pattern=("linear_attention",),
        ),
        "granitemoeshared": PLAIN,
        "helium": _theta(1e5, head_dim=128),
        "hy_v3": _theta(11_158_840.0, head_dim=128),
        "hy_v4": _mla(),
        "hyperclovax": PLAIN,
        "jais2": PLAIN,
        "jetmoe": _head(128),
        "lfm2": _theta(1e6),
        "lfm2_moe": _theta(1e6),
        "longcat_flash": ModelType(
            defaults={"head_dim": 64, "rope_theta": 1e7}, softmax_mscale=True
        ),
        "minicpm3": _mla(32),
        "minimax": ModelType(
            defaults={"rope_theta": 1e6},
            needs_head_dim=True,
            layer_pattern=("full_attention", "linear_attention"),
        ),
        "minimax_m3_vl_text": ModelType(
            defaults={"rope_theta": 5e6, "head_dim": 128},
            partial_in_default=True,
            unrelated_top_level_keys=frozenset({"rotary_dim"}),
        ),
        "nanochat": PLAIN,
        "olmo_hybrid": ModelType(defaults={"full_attention_interval": 4}),
        "olmoe": PLAIN,
        "qwen4_exp_text": ModelType(defaults=_QWEN3_5, partial_in_default=True, axes=_AXES_QWEN3_5),
        "solar_open": ModelType(
            defaults={"rope_theta": 1e6, "head_dim": 128}, partial_in_default=True
        ),
        "vaultgemma": ModelType(defaults={"head_dim": 256, **_windows(2)}),
        "voxtral_realtime_text": PLAIN,
        "youtu": _mla(),
        "phi": _partial(0.5),
        "phi3": ModelType(
            defaults={"original_max_position_embeddings": 4096},
            layer_pattern=_SLIDING.layer_pattern,
            partial_in_default=True,
            rules=frozenset({"default", "longrope"}),
            aliases={"su": "longrope", "yarn": "longrope"},
        ),
        "gpt_neox": ModelType(
            defaults={"rotary_pct": 0.25},
            theta_key="rotary_emb_base",
            rotary_fraction_key="rotary_pct",
            partial_in_default=True,
        ),
        "glm": _partial(0.5, head_dim=128),
        "glm4": _partial(0.5, head_dim=128),
        "glm4_moe": _partial(0.5),
        "stablelm": _partial(0.25),
        "nemotron": _partial(0.5),
        "persimmon": _partial(0.5),
        "ministral3": ModelType(
            defaults={"head_dim": 128, "rope_parameters": _MINISTRAL3_ROPE},
            unrelated_keys=_LLAMA4_SCALING,
        ),
        "mistral4": ModelType(
            defaults={
                "qk_rope_head_dim": 64,
                "qk_nope_head_dim": 64,
                "rope_parameters": _MISTRAL4_ROPE,
            },
            head_dim_key="qk_rope_head_dim",
            nope_head_dim_key="qk_nope_head_dim",
            rotary_dim_key="qk_rope_head_dim",
            softmax_mscale=True,
            unrelated_keys=_LLAMA4_SCALING,
        ),
        "gemma3_text": ModelType(
            defaults={
                "head_dim": 256,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "max_position_embeddings": 131_072,
                "sliding_window": 4096,
                "sliding_window_pattern": 6,
            },
            layers=GEMMA_LAYERS,
        ),
        "gemma3n_text": ModelType(
            defaults={
                "head_dim": 256,
                "num_attention_heads": 8,
                "num_key_value_heads": 2,
                "max_position_embeddings": 32_768,
                "sliding_window": 512,
                "sliding_window_pattern": 5,
                "num_kv_shared_layers": 15,
            },
            layers=GEMMA_LAYERS,
        ),
        # The class reads rope_theta for full attention alone.
        "olmo3": ModelType(
            defaults=_windows(4),
            layers={
                "full_attention": LayerType("rope_theta", 5e5, scaled=True),
                "sliding_attention": LayerType(None, 5e5),
            },
        ),
    }
)
