"""The fixtures of the parity notes in dialect hf: correction range, attention factor, warnings."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.rules.blend import correction_range

QWEN3 = {"head_dim": 128, "rope_theta": 1e6, "model_type": "qwen3"}
QWEN3_ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
DEEPSEEK = {"model_type": "deepseek_v3", "qk_rope_head_dim": 64, "rope_theta": 1e4}
GPT_OSS = {"model_type": "gpt_oss", "head_dim": 64, "rope_theta": 150000}
GPT_OSS_ROPE = {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096}


def _row(top: dict[str, Any], rope: dict[str, Any], maximum: int, **more: Any) -> dict[str, Any]:
    return {**top, "max_position_embeddings": maximum, "rope_scaling": {**rope, **more}}


ROWS = {
    "qwen3": (_row(QWEN3, QWEN3_ROPE, 131072), (23, 40), 1.13862944, 0),
    "qwen3 of 40960": (_row(QWEN3, QWEN3_ROPE, 40960), (23, 40), 1.13862944, 1),
    "deepseek-v3": (
        _row(DEEPSEEK, GPT_OSS_ROPE, 163840, factor=40, mscale=1.0, mscale_all_dim=1.0),
        (10, 23),
        1.0,
        0,
    ),
    "gpt-oss": (
        _row(GPT_OSS, GPT_OSS_ROPE, 131072, truncate=False),
        (8.0928, 17.398),
        1.3465736,
        0,
    ),
    "gpt-oss truncated": (_row(GPT_OSS, GPT_OSS_ROPE, 131072), (8, 18), 1.34657359, 0),
    "attention_factor 1": (
        _row(QWEN3, QWEN3_ROPE, 32768 * 64, factor=64.0, attention_factor=1.0),
        (23, 40),
        1.0,
        0,
    ),
    "attn_factor": (
        _row(QWEN3, QWEN3_ROPE, 131072, attn_factor=0.8782488562869419),
        (23, 40),
        1.13862944,
        1,
    ),
    "both mscales 1": (
        _row(QWEN3, QWEN3_ROPE, 32768 * 16, factor=16.0, mscale=1.0, mscale_all_dim=1.0),
        (23, 40),
        1.0,
        0,
    ),
    "both mscales 0": (
        _row(QWEN3, QWEN3_ROPE, 131072, mscale=0, mscale_all_dim=0),
        (23, 40),
        1.13862944,
        0,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_fixture(name: str, hf: SimpleNamespace) -> None:
    raw, limits, attention_factor, count = ROWS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scaling = RopeScaling.from_hf_config(raw)
    assert len(caught) == count
    # The table prints five and nine digits.
    assert correction_range(scaling._parameters) == pytest.approx(limits, rel=1e-4)
    assert scaling.attention_factor == pytest.approx(attention_factor, abs=1e-7)
    want, want_factor = hf.rope_of(hf.config_of(raw))
    assert torch.equal(scaling.inv_freq, want)
    assert scaling.attention_factor == want_factor


def test_deepseek_scales_the_softmax_instead() -> None:
    raw, *_ = ROWS["deepseek-v3"]
    scaling = RopeScaling.from_hf_config(raw)
    assert scaling.softmax_scale_multiplier == pytest.approx(1.8739, abs=5e-5)
    other = RopeScaling.from_hf_config({**raw, "model_type": "qwen3", "head_dim": 64})
    assert other.softmax_scale_multiplier == 1.0
    assert other != scaling


def test_softmax_scale_is_transformers(hf: SimpleNamespace) -> None:
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import yarn_apply_mscale

    raw, *_ = ROWS["deepseek-v3"]
    parameters = hf.config_of(raw).rope_parameters
    assert RopeScaling.from_hf_config(raw).softmax_scale_multiplier == yarn_apply_mscale(
        parameters, 1.0
    )
