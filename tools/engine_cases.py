"""Configs on which implementations disagree: the rows of the parity notes, and their kin."""

from __future__ import annotations

from typing import Any

QWEN3 = {"model_type": "qwen3", "hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128,
         "rope_theta": 1e6}  # fmt: skip
QWEN3_ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
DEEPSEEK = {"model_type": "deepseek_v3", "hidden_size": 7168, "num_attention_heads": 128,
            "qk_rope_head_dim": 64, "rope_theta": 1e4}  # fmt: skip
DEEPSEEK_ROPE = {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096}
GPT_OSS = {"model_type": "gpt_oss", "hidden_size": 2880, "num_attention_heads": 64,
           "head_dim": 64, "rope_theta": 150000}  # fmt: skip
GPT_OSS_ROPE = {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096}
QWEN2_VL = {"model_type": "qwen2_vl", "text_config": {
    "model_type": "qwen2_vl_text", "hidden_size": 3584, "num_attention_heads": 28,
    "rope_theta": 1e6, "max_position_embeddings": 131072,
    "rope_scaling": {**QWEN3_ROPE, "mrope_section": [16, 24, 24]}}}  # fmt: skip


def row(top: dict[str, Any], rope: dict[str, Any], maximum: int, **more: Any) -> dict[str, Any]:
    """Return a config of these top-level keys and rope parameters."""
    return {**top, "max_position_embeddings": maximum, "rope_scaling": {**rope, **more}}


CASES: dict[str, dict[str, Any]] = {
    "yarn": row(QWEN3, QWEN3_ROPE, 131072),
    "yarn, max_position_embeddings 40960": row(QWEN3, QWEN3_ROPE, 40960),
    "yarn, truncate false": row(GPT_OSS, GPT_OSS_ROPE, 131072, truncate=False),
    "yarn, truncate true": row(GPT_OSS, GPT_OSS_ROPE, 131072),
    "yarn, attention_factor 1": row(
        QWEN3, QWEN3_ROPE, 32768 * 64, factor=64.0, attention_factor=1.0
    ),
    "yarn, attn_factor 0.878": row(QWEN3, QWEN3_ROPE, 131072, attn_factor=0.8782488562869419),
    "yarn, attention_factor and attn_factor": row(
        QWEN3, QWEN3_ROPE, 131072, attention_factor=1.25, attn_factor=0.5
    ),
    "yarn, mscale 1 and 1": row(
        QWEN3, QWEN3_ROPE, 32768 * 16, factor=16.0, mscale=1.0, mscale_all_dim=1.0
    ),
    "yarn, mscale 0 and 0": row(QWEN3, QWEN3_ROPE, 131072, mscale=0, mscale_all_dim=0),
    "yarn, mscale 1 and 0": row(QWEN3, QWEN3_ROPE, 131072, mscale=1.0, mscale_all_dim=0.0),
    "yarn, mscale 0.7 alone": row(QWEN3, QWEN3_ROPE, 131072, mscale=0.7),
    "yarn, mscale 0.7 and 1.2": row(QWEN3, QWEN3_ROPE, 131072, mscale=0.7, mscale_all_dim=1.2),
    "yarn, betas 64 and 0.5": row(QWEN3, QWEN3_ROPE, 131072, beta_fast=64, beta_slow=0.5),
    "yarn, mrope": QWEN2_VL,
    "deepseek, mscale 1 and 1": row(
        DEEPSEEK, DEEPSEEK_ROPE, 163840, mscale=1.0, mscale_all_dim=1.0
    ),
    "deepseek, no mscale": row(DEEPSEEK, DEEPSEEK_ROPE, 163840),
    "deepseek, mscale 0.707 and 1": row(
        DEEPSEEK, DEEPSEEK_ROPE, 163840, mscale=0.707, mscale_all_dim=1.0
    ),
    "deepseek, attention_factor 1": row(
        DEEPSEEK, DEEPSEEK_ROPE, 163840, mscale=1.0, mscale_all_dim=1.0, attention_factor=1.0
    ),
    "deepseek, attention_factor 1.25 and attn_factor 0.5": row(
        DEEPSEEK, DEEPSEEK_ROPE, 163840, attention_factor=1.25, attn_factor=0.5
    ),
    "deepseek, mscale 0.5 alone": row(DEEPSEEK, DEEPSEEK_ROPE, 163840, mscale=0.5),
    "deepseek, betas 64 and 0.5": row(DEEPSEEK, DEEPSEEK_ROPE, 163840, beta_fast=64, beta_slow=0.5),
    "deepseek, truncate false": row(DEEPSEEK, DEEPSEEK_ROPE, 163840, truncate=False),
    "linear": row(QWEN3, {"rope_type": "linear", "factor": 4.0}, 32768),
    "dynamic": row(QWEN3, {"rope_type": "dynamic", "factor": 4.0}, 4096),
    "dynamic, alpha 1000": row(
        QWEN3, {"rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0}, 4096
    ),
}
