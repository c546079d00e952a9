"""Random spellings of each model type's configs: what Transformers accepts, we read alike."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import quiet

from ropescale_kernels.errors import RopeScaleError
from ropescale_kernels.scaling.config.model_types.table import MODEL_TYPES

LENGTH = 4096
# The first has no class of its own; the others' classes are for files with a text_config; mistral4
# takes its share of a head from rope_parameters alone; two have no rotary class, and the last one
# has no default parameters (test_model_types, test_sweep_rows).
TYPES = sorted(
    set(MODEL_TYPES)
    - {"kimi_k2", "llama4", "qwen3_vl", "qwen3_vl_moe", "mistral4", "codegen", "gptj",
       "cohere_compass_text"}
)  # fmt: skip
# Sizes of classes that compare a size with others, or that have a section of axes for one size.
SIZES_OF: dict[str, dict[str, int]] = {
    "dots3_note_audio_encoder": {"hidden_size": 1280},
    "dots3_note_text": {"num_key_value_heads": 8},
    "gradium_phonon_tts": {"hidden_size": 768},
}
RULES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 1024},
    "llama3": {
        "factor": 8.0,
        "original_max_position_embeddings": 1024,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
}
YARN_KEYS: dict[str, Any] = {
    "beta_fast": 16,
    "beta_slow": 2,
    "attention_factor": 1.25,
    "mscale": 0.7,
    "mscale_all_dim": 1.2,
    "truncate": False,
    "attn_factor": 0.5,
}
TOP_KEYS: dict[str, Any] = {
    "rope_theta": 54321.0,
    "head_dim": 96,
    "partial_rotary_factor": 0.5,
    "original_max_position_embeddings": 2048,
    "rope_local_base_freq": 2e4,
    "rotary_emb_base": 3e4,
    "mrope_section": [1, 2, 3],
}


@st.composite
def ropes(draw: st.DrawFn) -> dict[str, Any]:
    rule = draw(st.sampled_from(sorted(RULES)))
    names = draw(st.sets(st.sampled_from(["rope_type", "type"]), min_size=1))
    rope = {**dict.fromkeys(sorted(names), rule), **RULES[rule]}
    if rule == "yarn":
        rope |= {key: YARN_KEYS[key] for key in draw(st.sets(st.sampled_from(sorted(YARN_KEYS))))}
    if draw(st.booleans()):
        rope["rope_theta"] = 123456.0
    if draw(st.booleans()):
        rope["partial_rotary_factor"] = draw(st.sampled_from([0.25, 1.0]))
    return rope


@st.composite
def configs(draw: st.DrawFn, model_type: str) -> dict[str, Any]:
    row = MODEL_TYPES[model_type]
    top = {key: TOP_KEYS[key] for key in draw(st.sets(st.sampled_from(sorted(TOP_KEYS))))}
    if row.head_dim_key != "head_dim" or row.builds_text_config:
        top.pop("head_dim", None)
    raw = {
        "model_type": model_type,
        "hidden_size": 1024,
        "num_attention_heads": 8,
        "max_position_embeddings": LENGTH,
        **SIZES_OF.get(model_type, {}),
        **dict([row.rotates_if] if row.rotates_if else []),
        **top,
    }
    for key in draw(st.sets(st.sampled_from(["rope_scaling", "rope_parameters"]), max_size=2)):
        nested = st.fixed_dictionaries({}, optional={name: ropes() for name in row.layers})
        nests = key == "rope_parameters" and row.layers
        raw[key] = draw(ropes() | nested if nests else ropes())
    return raw


@pytest.mark.parametrize("model_type", TYPES)
def test_spellings(model_type: str, hf: SimpleNamespace) -> None:
    compared = 0

    @settings(deadline=None, derandomize=True, max_examples=12, database=None)
    @given(configs(model_type))
    def check(raw: dict[str, Any]) -> None:
        nonlocal compared
        try:
            found = hf.numbers_of(hf.config_of(raw))
        except Exception:  # Classes refuse with errors of many kinds; what they accept is compared.
            return
        for layer_type, (want, attention_factor) in found.items():
            if model_type == "ernie4_5_vl_moe_text":  # Its frequencies are in another order.
                want = want.sort(descending=True).values
            try:
                scaling = quiet(raw, layer_type=layer_type)
            except RopeScaleError:
                # Stricter on purpose: see test_dialects_bad_inputs.
                continue
            assert torch.equal(scaling.inv_freq, want), layer_type
            assert scaling.attention_factor == attention_factor, layer_type
            compared += 1

    check()
    assert compared
