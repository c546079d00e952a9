"""No rope key of a config is passed over in silence, wherever it stands."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.configs import quiet, resolve

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleWarning
from ropescale_kernels.scaling import RopeScaling

SIZES = {"hidden_size": 512, "num_attention_heads": 8, "max_position_embeddings": 4096}
LLAMA = {"model_type": "llama", **SIZES, "rope_theta": 5e5}
LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    "keys",
    [
        {"swa_rope_theta": 1e4},
        {"global_rope_theta": 1e6},
        {"partial_rotary_dim": 8},
        {"mrope_section": [8, 12, 12]},
        {"factor": 4.0},
        {"attention_factor": 1.2},
        {"mscale": 0.7},
        {"beta_fast": 16},
        {"truncate": False},
        {"original_max_position_embeddings": 1024},
        {"use_yarn": True},
    ],
)
def test_top_level(keys: dict[str, Any]) -> None:
    (key,) = keys
    with pytest.warns(RopeScaleWarning, match=f"^{key}: expected .*It has no effect"):
        scaling = RopeScaling.from_hf_config({**LLAMA, **keys})
    assert scaling == RopeScaling.from_hf_config(LLAMA)
    with pytest.raises(RopeScaleConfigError, match=f"^{key}: "):
        RopeScaling.from_hf_config({**LLAMA, **keys}, strict=True)


@pytest.mark.parametrize(
    "keys",
    [
        {"original_max_position_embeddings": 4096},
        {"qk_rope_head_dim": 64},
        {"no_rope_layers": [1, 0]},
        {"rope_interleave": True},
        {"vision_config": {"rope_theta": 1e4}},
        {"generation": {"top_p": 0.9}},
    ],
)
def test_keys_that_are_no_loss(keys: dict[str, Any], recwarn: pytest.WarningsRecorder) -> None:
    assert RopeScaling.from_hf_config({**LLAMA, **keys}, strict=True)
    assert not recwarn.list


def test_another_name_of_the_base() -> None:
    raw = {"model_type": "gpt_neox", **SIZES, "rotary_emb_base": 5e5}
    with pytest.warns(RopeScaleWarning, match="^rope_theta: "):
        scaling = RopeScaling.from_hf_config({**raw, "rope_theta": 1e6})
    assert scaling.rope_theta == 5e5


def test_a_text_model_under_another_name() -> None:
    part = {"rope_scaling": LINEAR, "rope_theta": 1e6}
    with pytest.warns(RopeScaleWarning, match="^llm_config: .*give that part alone"):
        RopeScaling.from_hf_config({**LLAMA, "llm_config": part})


def test_of_an_unknown_class_nothing_is_claimed() -> None:
    _, said = resolve({**LLAMA, "model_type": "new_one", "rotary_span": 3})
    assert any("rotary_span" in x and "whether new_one reads it is not known" in x for x in said)


@pytest.mark.parametrize("model_type", ["olmo3", "gemma3_text", "gemma3n_text"])
@pytest.mark.parametrize(
    "keys",
    [
        {"rope_parameters": {**LINEAR, "rope_theta": 1234.0}},
        {"rope_parameters": {"full_attention": {**LINEAR, "rope_theta": 1234.0}}},
        {"rope_parameters": {"full_attention": {**LINEAR}}, "rope_theta": 7e5},
        {"rope_scaling": LINEAR, "rope_theta": 7e5},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {
            "rope_scaling": LINEAR,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 7e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 8e3},
            },
        },
    ],
)
def test_classes_that_nest(model_type: str, keys: dict[str, Any], hf: SimpleNamespace) -> None:
    raw = {"model_type": model_type, **SIZES, "head_dim": 64, **keys}
    config = hf.config_of(raw)
    for layer_type in ("full_attention", "sliding_attention"):
        want, attention_factor = hf.rope_of(config, layer_type)
        scaling = quiet(raw, layer_type=layer_type)
        assert torch.equal(scaling.inv_freq, want), layer_type
        assert scaling.attention_factor == attention_factor


def test_a_rule_named_type_where_a_class_nests() -> None:
    raw = {"model_type": "gemma3_text", **SIZES, "rope_scaling": {"type": "linear", "factor": 2.0}}
    scaling, said = resolve(raw, layer_type="full_attention")
    assert scaling.factor == 1.0
    assert any(x.startswith("rope_scaling['type']: ") and "say rope_type" in x for x in said)
    before = quiet(raw, dialect="hf-4.51", layer_type="full_attention")
    assert before.factor == 2.0


def test_a_flat_file_of_a_class_that_nests_its_text(hf: SimpleNamespace) -> None:
    raw = {"model_type": "qwen2_vl", **SIZES, "partial_rotary_factor": 0.25,
           "rope_scaling": LINEAR}  # fmt: skip
    with pytest.warns(RopeScaleWarning, match="^partial_rotary_factor: .*no effect"):
        scaling = RopeScaling.from_hf_config(raw)
    assert torch.equal(scaling.inv_freq, hf.rope_of(hf.config_of(raw))[0])


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA)[:-1] + ', "rope_theta": 1e6}')
    with pytest.raises(RopeScaleConfigError, match=r"^rope_theta: .*500000.0 and 1000000.0"):
        RopeScaling.from_hf_config(path)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(RopeScaleConfigError, match="a folder without one"):
        RopeScaling.from_hf_config(tmp_path)
