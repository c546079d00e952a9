"""What each model type's class makes of a config: defaults, keys and axes, as in Transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.configs import layers_of, quiet, resolve

import ropescale_kernels as rk
from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleWarning
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config.model_types.table import MODEL_TYPES
from ropescale_kernels.scaling.config.model_types.without_rope import MODEL_TYPES_WITHOUT_ROPE

SIZES = {"hidden_size": 1280, "num_attention_heads": 8, "max_position_embeddings": 4096}
# Files of these types have the text model's keys in text_config.
TEXT_TYPES = {
    "llama4": "llama4_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
}
# One that the installed Transformers knows by another name; two whose modules rotate without a
# class (test_sinusoids_without_a_class); one without default parameters (test_nested_alone).
KNOWN = sorted(set(MODEL_TYPES) - {"kimi_k2", "codegen", "gptj", "cohere_compass_text"})
# Sizes of classes that compare a size with others, or that have a section of axes for one size.
SIZES_OF: dict[str, dict[str, int]] = {
    "dots3_note_text": {"num_key_value_heads": 8},
    "ernie4_5_vl_moe_text": {"num_attention_heads": 10},
    "gradium_phonon_tts": {"hidden_size": 768},
    "pocket_tts": {"hidden_size": 1024},
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
LINEAR = {"type": "linear", "factor": 2.0}
KEYS: dict[str, dict[str, Any]] = {
    "a base": {"rope_theta": 54321.0},
    "yarn": {"rope_theta": 54321.0, "rope_scaling": YARN},
    "yarn, Transformers 5": {"rope_parameters": {**YARN, "rope_theta": 54321.0}},
    "head_dim": {"head_dim": 64},
    "head_dim and yarn": {"head_dim": 64, "rope_theta": 54321.0, "rope_scaling": YARN},
    "a share": {"partial_rotary_factor": 0.5},
    "a share and yarn": {"partial_rotary_factor": 0.5, "rope_theta": 5e4, "rope_scaling": YARN},
    "linear": {"rope_theta": 54321.0, "rope_scaling": LINEAR},
}
# Configs that the class refuses, or of which it makes heads that its model cannot rotate.
REFUSED = {
    ("falcon", "head_dim"),
    ("falcon", "head_dim and yarn"),
    # The class reads "yarn" as LongRoPE, and misses its factors.
    *((name, key) for name in ("phi3", "phi4_multimodal") for key in KEYS if "yarn" in key),
    *(("mistral4", name) for name in ("yarn", "linear", "head_dim")),
    # 0.9 of 64 channels are 57, which YaRN's ramp does not fit.
    ("moonshine", "head_dim and yarn"),
    # The class wants heads of exactly hidden_size / num_attention_heads channels.
    *((name, key) for name in ("gradium_phonon_tts", "pocket_tts") for key in KEYS
      if "head_dim" in key),
    # The class has sections of axes for 128 channels.
    ("cosmos3_edge_text", "head_dim"),
    ("ernie4_5_vl_moe_text", "head_dim"),
    # The validation of YaRN reads a length that the class does not have.
    *((name, key) for name in ("clvp_encoder", "wav2vec2-bert", "wav2vec2-conformer")
      for key in KEYS if "yarn" in key),
}  # fmt: skip


def _raw(model_type: str, **top: Any) -> dict[str, Any]:
    if switch := MODEL_TYPES[model_type].rotates_if if model_type in MODEL_TYPES else None:
        # The model rotates only if the config says so.
        top = {switch[0]: switch[1], **top}
    sizes = {**SIZES, **SIZES_OF.get(model_type, {})}
    text = {"model_type": TEXT_TYPES.get(model_type, model_type), **sizes, **top}
    return {"model_type": model_type, "text_config": text} if model_type in TEXT_TYPES else text


# A class that orders its frequencies by axis, and puts its angles back into the order of the pairs.
REORDERED = {"ernie4_5_vl_moe_text"}


@pytest.mark.parametrize("model_type", KNOWN)
def test_defaults(model_type: str, hf: SimpleNamespace) -> None:
    raw = _raw(model_type)
    config = hf.config_of(raw)
    found = hf.numbers_of(config)
    assert set(found) <= set(layers_of(model_type))
    for layer_type, (want, attention_factor) in found.items():
        if model_type in REORDERED:
            want = want.sort(descending=True).values
        scaling = quiet(raw, layer_type=layer_type)
        assert torch.equal(scaling.inv_freq, want)
        assert scaling.attention_factor == attention_factor
        assert torch.equal(quiet(config, layer_type=layer_type).inv_freq, want)


@pytest.mark.filterwarnings("ignore:`rope_scaling` is deprecated:FutureWarning")
@pytest.mark.parametrize("model_type", [name for name in KNOWN if layers_of(name) == [None]])
def test_keys(model_type: str, hf: SimpleNamespace) -> None:
    row = MODEL_TYPES[model_type]
    for name, keys in KEYS.items():
        # Keys that are no text model's own are lost where a class makes its config of a flat file.
        lost = row.builds_text_config and "head_dim" in keys
        if (model_type, name) in REFUSED or lost:
            continue
        raw = _raw(model_type, **keys)
        rope = {**keys.get("rope_scaling", {}), **keys.get("rope_parameters", {})}
        if row.rules and rope and rope.get("rope_type", rope.get("type")) not in row.rules:
            said = "rope_type|type field|short_mscale|RoPE types|`default` rope|max_position"
            with pytest.raises(Exception, match=said):
                hf.numbers_of(hf.config_of(raw))
            with pytest.raises(RopeScaleConfigError, match=r"^rope_type: expected one of"):
                RopeScaling.from_hf_config(raw)
            continue
        config = hf.config_of(raw)
        if row.needs_head_dim and "yarn" in name and "head_dim" not in keys:
            with pytest.raises(TypeError):
                hf.embedding_class(config)(config)
            with pytest.warns(RopeScaleWarning, match=r"^head_dim: expected"):
                RopeScaling.from_hf_config(raw)
            continue
        want, attention_factor = hf.numbers_of(config)[None]
        if model_type in REORDERED:
            want = want.sort(descending=True).values
        scaling = quiet(raw)
        assert torch.equal(scaling.inv_freq, want), name
        assert scaling.attention_factor == attention_factor, name


OWN_KEYS = [
    x for x in KNOWN if MODEL_TYPES[x].rotary_fraction_key not in ("", "partial_rotary_factor")
]


@pytest.mark.parametrize("model_type", OWN_KEYS)
def test_own_key_of_the_share(model_type: str, hf: SimpleNamespace) -> None:
    raw = _raw(model_type, **{MODEL_TYPES[model_type].rotary_fraction_key: 0.5})
    want, _ = hf.rope_of(hf.config_of(raw))
    scaling = quiet(raw)
    assert scaling.rotary_dim == 80
    assert torch.equal(scaling.inv_freq, want)


@pytest.mark.parametrize("model_type", [x for x in KNOWN if x not in TEXT_TYPES])
def test_what_a_class_writes_is_understood(model_type: str, hf: SimpleNamespace) -> None:
    written = hf.config_of(_raw(model_type)).to_dict()
    for layer_type in layers_of(model_type):
        assert quiet(written, layer_type=layer_type, strict=True) == quiet(
            _raw(model_type), layer_type=layer_type
        )


def test_channels_instead_of_a_share(hf: SimpleNamespace) -> None:
    raw = _raw("minimax_m2", rotary_dim=48)
    want, _ = hf.rope_of(hf.config_of(raw))
    scaling = RopeScaling.from_hf_config(raw)
    assert scaling.rotary_dim == 48
    assert torch.equal(scaling.inv_freq, want)


def test_a_share_of_parts_of_a_head(hf: SimpleNamespace) -> None:
    rope = {**YARN, "rope_theta": 1e4, "mscale": 1.0, "mscale_all_dim": 1.0}
    for share in ({}, {"partial_rotary_factor": 0.25}):
        raw = _raw("mistral4", qk_nope_head_dim=96, qk_rope_head_dim=32,
                   rope_parameters={**rope, **share})  # fmt: skip
        scaling = quiet(raw)
        assert scaling.rotary_dim == 32
        assert torch.equal(scaling.inv_freq, hf.rope_of(hf.config_of(raw))[0])
        assert scaling.softmax_scale_multiplier == pytest.approx(1.138629436**2)


@pytest.mark.parametrize("model_type", ["hunyuan_v1_dense", "hunyuan_v1_moe"])
def test_a_fixed_alpha(model_type: str, hf: SimpleNamespace) -> None:
    rope = {"type": "dynamic", "alpha": 1000.0, "factor": 1.0}
    raw = _raw(model_type, head_dim=128, rope_theta=1e4, rope_scaling=rope)
    config = hf.config_of(raw)
    for dialect in ("hf", "vllm", "sglang"):
        scaling = RopeScaling.from_hf_config(raw, dialect)
        assert torch.equal(scaling.inv_freq, hf.embedding_class(config)(config).inv_freq), dialect
    with pytest.warns(RopeScaleWarning, match="alpha"):
        RopeScaling.from_hf_config({**raw, "model_type": "llama"})


LANGUAGE_MODELS_WITHOUT_ROPE = [
    "bart", "biogpt", "bloom", "falcon_mamba", "gpt2", "gpt_bigcode", "gpt_neo", "jamba",
    "kimi_linear", "mamba", "mamba2", "mpt", "nemotron_h", "opt", "rwkv", "t5", "xglm",
]  # fmt: skip


# The sweep has all the others.
@pytest.mark.parametrize("model_type", LANGUAGE_MODELS_WITHOUT_ROPE)
def test_types_without_a_rotary_embedding(model_type: str, hf: SimpleNamespace) -> None:
    assert model_type in MODEL_TYPES_WITHOUT_ROPE
    # Two modules take what their model never gives.
    made = {"jamba": "RotaryEmbedding(", "nemotron_h": "RotaryEmbedding("}
    assert made.get(model_type, "rotary") not in hf.source_of(model_type)
    with pytest.raises(RopeScaleConfigError, match=f"model_type: .*got '{model_type}'"):
        RopeScaling.from_hf_config(_raw(model_type))


@pytest.mark.parametrize(
    "keys",
    [
        {"model_type": "falcon", "alibi": True},
        {"model_type": "granitemoehybrid", "position_embedding_type": "nope"},
        {"model_type": "granitemoehybrid", "position_embedding_type": None},
        {"model_type": "bert", "position_embedding_type": "absolute"},
    ],
)
def test_positions_that_are_not_rotated(keys: dict[str, Any]) -> None:
    with pytest.raises(RopeScaleConfigError, match=f"{[*keys][1]}: expected .*rotary"):
        RopeScaling.from_hf_config({**SIZES, **keys})


AXES = [name for name in KNOWN if MODEL_TYPES[name].axes is not None]


@pytest.mark.parametrize("model_type", AXES)
@pytest.mark.parametrize("keys", ["none", "section", "contrary"])
def test_axes(model_type: str, keys: str, hf: SimpleNamespace) -> None:
    if model_type == "cosmos3_edge_text" and keys != "section":
        pytest.skip("The class refuses rope parameters without a section.")
    row = MODEL_TYPES[model_type]
    assert row.axes is not None
    share = float(str(row.defaults.get("partial_rotary_factor", 1)))
    section = list(row.axes.section)
    head_dim = int(2 * sum(section) / share)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4}
    if keys == "section":
        section = [section[0] + 2, section[1] - 1, section[2] - 1]
        rope["mrope_section"] = section
    if keys == "contrary":
        rope["mrope_interleaved"] = not row.axes.interleaved
    sizes = {"head_dim": head_dim, "hidden_size": head_dim * 8}
    raw = _raw(model_type, **sizes, rope_parameters=rope)
    scaling, notes = resolve(raw)
    said = [note for note in notes if "mrope_interleaved" in note]
    assert bool(said) == (keys == "contrary")
    assert scaling.mrope_section == section
    assert scaling.mrope_interleaved is row.axes.interleaved

    positions = torch.tensor([3, 5, 11]).reshape(3, 1)
    config = hf.config_of(raw)
    _, want = hf.embedding_class(config)(config)(torch.zeros(1), positions[:, None])
    pairs = scaling.rotary_dim // 2
    want = want.flatten()
    # Some modules repeat each pair's number side by side, others half by half.
    want = want[::2] if torch.equal(want[::2], want[1::2]) else want[:pairs]
    q = torch.zeros(1, 1, 2 * pairs)
    q[..., :pairs] = 1.0
    got, _ = rk.apply_rotary_qk(q, None, positions, rk.RotaryTable(scaling))
    torch.testing.assert_close(got[0, 0, pairs:], want)


def test_axes_of_other_numbers_are_left_out() -> None:
    # Of 80 pairs; the class has a section for 64.
    assert RopeScaling.from_hf_config(_raw("qwen3_vl")).mrope_section is not None
    assert RopeScaling.from_hf_config(_raw("qwen2_vl")).mrope_section is None


@pytest.mark.parametrize("dialect", ["hf", "hf-4.51", "hf-4.45"])
def test_a_text_model_has_no_axes(dialect: str) -> None:
    rope = {**YARN, "mrope_section": [16, 24, 24], "mrope_interleaved": True}
    raw = {"model_type": "qwen2", **SIZES, "head_dim": 128, "rope_scaling": rope}
    with pytest.warns(RopeScaleWarning) as caught:
        scaling = RopeScaling.from_hf_config(raw, dialect)
    said = " ".join(str(w.message) for w in caught)
    assert scaling.mrope_section is None
    assert "mrope_section" in said
    assert "mrope_interleaved" in said
    for engine in ("vllm", "sglang"):
        assert quiet(raw, dialect=engine).mrope_section == [16, 24, 24]
        assert quiet(raw, dialect=engine).mrope_interleaved is True
