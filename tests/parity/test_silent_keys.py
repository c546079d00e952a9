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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("xdrope_section", [4, 4]),
        ("ropeScaling", {"factor": 2}),
        ("freqTheta", 1e6),
        ("layer_rope_theta", [0, 1e4]),
        ("use_dynamic_ntk", True),
        ("use_logn_attn", True),
        ("mscale_for_q", 2.0),
        ("rotaryEmbBase", 5e5),
        ("qk_rope_head_dim", 32),
        ("rotary_dim", 32),
    ],
)
@pytest.mark.parametrize("model_type", ["llama", "my_own"])
def test_whatever_looks_like_rope(key: str, value: object, model_type: str) -> None:
    if model_type == "my_own" and key in ("rotary_dim", "layer_rope_theta"):
        return  # Evidence, and so it has an effect.
    raw = {**LLAMA, "model_type": model_type}
    for nested in (False, True):
        config = {**raw, key: value}
        whole = {"model_type": "a_vlm", "text_config": config} if nested else config
        scaling, said = resolve(whole)
        (named,) = (x for x in said if x.startswith(f"{key}: "))
        assert "It has no effect" in named
        assert str(value if not isinstance(value, (list, dict)) else len(value)) in named
        assert scaling == quiet(raw)
    beside, said = resolve({"model_type": "a_vlm", "text_config": raw, key: value})
    assert any(x.startswith(f"{key}: ") for x in said)
    assert beside == quiet(raw)


@pytest.mark.parametrize("key", ["property", "microscope", "isotropic", "factor_of_loss"])
def test_words_that_only_contain_it(key: str, recwarn: pytest.WarningsRecorder) -> None:
    assert RopeScaling.from_hf_config({**LLAMA, key: 3}, strict=True)
    assert not recwarn.list


def test_parts_of_a_text_model() -> None:
    for part, said in (
        ({"attn_config": {"rope_theta": 5e5}}, "attn_config: .*got rope_theta 500000.0"),
        ({"decoder": {"attn": {"rotary_pct": 0.5}}}, r"decoder: .*got attn\['rotary_pct'\] 0.5"),
    ):
        for raw in ({**LLAMA, **part}, {"model_type": "x", "text_config": {**LLAMA, **part}}):
            with pytest.warns(RopeScaleWarning, match=f"^{said}"):
                RopeScaling.from_hf_config(raw)
    fine = {"dual_chunk_attention_config": {"original_max_position_embeddings": 4096},
            "decoder": {"vision_config": {"rope_theta": 1e4}}}  # fmt: skip
    assert RopeScaling.from_hf_config({**LLAMA, **fine}, strict=True)


def test_keys_of_the_layer_types_and_beside_them() -> None:
    layers = {"full_attention": {**LINEAR, "beta_fast": 8}, "sliding_attention": {}, "mscale": 2.0}
    raw = {**LLAMA, "rope_parameters": layers}
    said = resolve(raw, layer_type="full_attention")[1]
    keys = ["rope_parameters['beta_fast']", "rope_parameters['mscale']"]
    assert [x.split(":")[0] for x in said] == keys


def test_a_base_that_every_layer_type_replaces() -> None:
    bases = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    for model_type in ("llama", "gemma3_text"):
        raw = {**LLAMA, "model_type": model_type, "head_dim": 64, "rope_parameters": bases}
        with pytest.warns(RopeScaleWarning, match="^rope_theta: .*got 500000.0. It has no effect"):
            RopeScaling.from_hf_config(raw, layer_type="full_attention")
        # Where the base serves one of them, it is no loss.
        served = {**raw, "rope_theta": 1e6}
        assert RopeScaling.from_hf_config(served, layer_type="sliding_attention", strict=True)


def test_channels_that_a_share_replaces(hf: SimpleNamespace) -> None:
    raw = {"model_type": "minimax_m2", **SIZES, "head_dim": 64, "rotary_dim": 16,
           "partial_rotary_factor": 0.5}  # fmt: skip
    with pytest.warns(RopeScaleWarning, match="^rotary_dim: .*got 16. It has no effect"):
        scaling = RopeScaling.from_hf_config(raw)
    assert torch.equal(scaling.inv_freq, hf.rope_of(hf.config_of(raw))[0])
    assert RopeScaling.from_hf_config({**raw, "rotary_dim": 32}, strict=True).rotary_dim == 32


def test_many_keys_are_all_named() -> None:
    keys = {f"rope_{j}": j + 0.5 for j in range(30)}
    said = resolve({**LLAMA, **keys})[1]
    assert len(said) == 9
    for key, value in keys.items():
        assert any(key in x and str(value) in x for x in said), key


NEW = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt_oss", "deepseek_v3"])
def test_two_dicts_that_disagree(model_type: str, hf: SimpleNamespace) -> None:
    raw = {**LLAMA, "model_type": model_type, "rope_scaling": LINEAR, "rope_parameters": NEW}
    want, attention_factor = hf.rope_of(hf.config_of(raw))
    said = (
        "^rope_parameters: expected the values of rope_scaling "
        r"\(rope_type 'linear', factor 2.0\), got rope_type 'yarn', factor 4.0, "
        "original_max_position_embeddings 1024. rope_scaling alone is read"
    )
    with pytest.warns(RopeScaleWarning, match=said):
        scaling = RopeScaling.from_hf_config(raw)
    assert torch.equal(scaling.inv_freq, want)
    assert scaling.attention_factor == attention_factor
    # The other one means something else.
    assert not torch.equal(quiet({**raw, "rope_scaling": None}).inv_freq, want)
    with pytest.raises(RopeScaleConfigError, match=r"^rope_parameters: expected the values"):
        RopeScaling.from_hf_config(raw, strict=True)


def test_two_dicts_that_say_the_same() -> None:
    old = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    raw = {**LLAMA, "rope_scaling": old, "rope_parameters": {**NEW, "rope_theta": 5e5}}
    assert RopeScaling.from_hf_config(raw, strict=True) == quiet({**LLAMA, "rope_scaling": NEW})


def test_a_missing_length_of_training(hf: SimpleNamespace) -> None:
    for rope in ({"rope_type": "yarn", "factor": 4.0},
                 {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                  "high_freq_factor": 4.0}):  # fmt: skip
        raw = {**LLAMA, "rope_scaling": rope}
        with pytest.warns(RopeScaleWarning) as caught:
            scaling = RopeScaling.from_hf_config(raw)
        (only,) = caught
        assert str(only.message) == (
            "original_max_position_embeddings: expected the length of training for rope_type "
            f"'{rope['rope_type']}', got no such key. max_position_embeddings 4096 counts as that "
            "length."
        )
        assert torch.equal(scaling.inv_freq, hf.rope_of(hf.config_of(raw))[0])
        assert scaling.original_max_position_embeddings == 4096
    # A null factor is their ratio, 1 then; the longest length of this release is what counts.
    for rope, dialect in (({"rope_type": "yarn", "factor": None}, "hf"),
                          ({"rope_type": "yarn", "factor": 4.0}, "hf-4.45")):  # fmt: skip
        assert RopeScaling.from_hf_config({**LLAMA, "rope_scaling": rope}, dialect)


def test_yarn_where_a_class_reads_longrope() -> None:
    raw = {**LLAMA, "model_type": "phi3", "rope_scaling": {"type": "yarn", "factor": 4.0}}
    said = (
        "^short_factor: expected a list with a factor for each pair, for rope_type 'longrope', got "
        "None. A phi3 model reads 'yarn' as 'longrope'"
    )
    for rope in ({}, {"short_factor": None, "long_factor": None}):
        config = {**raw, "rope_scaling": {**raw["rope_scaling"], **rope}}
        with pytest.raises(RopeScaleConfigError, match=said):
            RopeScaling.from_hf_config(config)
    # A class that knows YaRN reads it.
    assert quiet({**raw, "model_type": "llama"}).rope_type == "yarn"
