"""Readings of single classes that the forms of the sweep do not reach."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.configs import quiet, resolve

from ropescale_kernels.errors import (
    RopeScaleConfigError,
    RopeScaleUnsupportedError,
    RopeScaleWarning,
)
from ropescale_kernels.planner.plan import make_plan
from ropescale_kernels.scaling import RopeScaling

SIZES = {"hidden_size": 1280, "num_attention_heads": 8, "max_position_embeddings": 4096}
YARN = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 65536}
FULL, SLIDING = "full_attention", "sliding_attention"


def compared(raw: dict[str, Any], hf: SimpleNamespace) -> dict[str | None, RopeScaling]:
    """Return the scalings of all layer types, each equal to the class's, also from its object."""
    config = hf.config_of(raw)
    found = hf.numbers_of(config)
    for layer_type, (inv_freq, attention_factor) in found.items():
        for given in (raw, config, config.to_dict()):
            scaling = quiet(given, layer_type=layer_type)
            assert torch.equal(scaling.inv_freq, inv_freq), layer_type
            assert scaling.attention_factor == attention_factor, layer_type
    return {layer_type: quiet(raw, layer_type=layer_type) for layer_type in found}


@pytest.mark.parametrize("type_key", ["type", "rope_type"])
def test_deepseek_v4(type_key: str, hf: SimpleNamespace) -> None:
    raw = {
        "model_type": "deepseek_v4", "hidden_size": 4096, "num_attention_heads": 64,
        "head_dim": 512, "qk_rope_head_dim": 64, "max_position_embeddings": 1048576,
        "rope_theta": 10000, "compress_rope_theta": 160000,
        "rope_scaling": {type_key: "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                         "original_max_position_embeddings": 65536},
    }  # fmt: skip
    found = compared(raw, hf)
    main, compress = found["main"], found["compress"]
    assert (main.rotary_dim, main.rope_theta, main.rope_type) == (64, 1e4, "default")
    assert (compress.rotary_dim, compress.rope_theta, compress.factor) == (64, 1.6e5, 16.0)
    # The class leaves the magnitude alone unless the config gives it.
    assert compress.attention_factor == 1.0
    with pytest.raises(RopeScaleConfigError, match=r"layer_type: expected one of \['main', 'comp"):
        RopeScaling.from_hf_config(raw)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"head_dim": 256},
        {"qk_rope_head_dim": 32, "head_dim": 256},
        {"partial_rotary_factor": 0.25, "qk_rope_head_dim": 32},
        {"rope_parameters": YARN},
        {"rope_scaling": {**YARN, "attention_factor": 1.25, "rope_theta": 7.0}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
    ],
)
def test_forms_of_deepseek_v4(keys: dict[str, Any], hf: SimpleNamespace) -> None:
    raw = {"model_type": "deepseek_v4", **SIZES, **keys}
    compared(raw, hf)
    notes = resolve(raw, layer_type="compress")[1]
    lost = [note for note in notes if note.startswith("rope_scaling['rope_theta']: expected no")]
    assert len(lost) == ("rope_theta" in keys.get("rope_scaling", {}))


@pytest.mark.parametrize("model_type", ["gemma4_text", "gemma4_unified_text"])
@pytest.mark.parametrize("global_head_dim", [None, 256, 384])
def test_heads_of_the_layers_of_gemma_4(
    model_type: str, global_head_dim: int | None, hf: SimpleNamespace
) -> None:
    raw = {"model_type": model_type, **SIZES, "num_hidden_layers": 6}
    if global_head_dim is not None:
        raw["global_head_dim"] = global_head_dim
    found = compared(raw, hf)
    assert found[FULL].rotary_dim == (global_head_dim or 512)
    assert found[FULL].rope_type == "proportional"
    assert found[SLIDING].rotary_dim == 256


def test_own_sizes_of_layers() -> None:
    layers = [SLIDING, FULL, FULL]
    raw = {"model_type": "gemma4_text", **SIZES, "layer_types": layers}
    same = {"1": {"head_dim": 384}, "02": {"head_dim": 384}}
    assert quiet({**raw, "per_layer_config": same}, layer_type=FULL).rotary_dim == 384
    for other in ({"1": {"head_dim": 384}}, {**same, "02": {"head_dim": 128}}):
        with pytest.raises(RopeScaleConfigError, match="per_layer_config: expected one head_dim"):
            RopeScaling.from_hf_config({**raw, "per_layer_config": other}, layer_type=FULL)
    del raw["layer_types"]
    with pytest.raises(RopeScaleConfigError, match="layer_types: expected the type of each layer"):
        RopeScaling.from_hf_config({**raw, "per_layer_config": same}, layer_type=FULL)
    with pytest.warns(RopeScaleWarning, match="per_layer_config: expected one head_dim, as all"):
        RopeScaling.from_hf_config({"model_type": "llama", **SIZES, "per_layer_config": same})


@pytest.mark.parametrize(
    "keys",
    [
        {"rope_theta": [5e6, 1e4, 1e4, 5e6], "partial_rotary_factors": [0.5, 1.0, 1.0, 0.5]},
        {"rope_theta": [5e6, 1e4, 1e4, 5e6, 1e4], "num_nextn_predict_layers": 1,
         "layer_types": [FULL, SLIDING, SLIDING, FULL, SLIDING], "num_hidden_layers": 4},
        {"rope_theta": 2e6, "rope_scaling": {**YARN, "original_max_position_embeddings": 512}},
    ],
)  # fmt: skip
def test_bases_by_layer_of_step_3(keys: dict[str, Any], hf: SimpleNamespace) -> None:
    raw = {"model_type": "step3p5", **SIZES, "num_hidden_layers": 4, "sliding_window": 64,
           "layer_types": [FULL, SLIDING, SLIDING, FULL], **keys}  # fmt: skip
    found = compared(raw, hf)
    assert set(found) == {FULL, SLIDING}
    nested = {"model_type": "step3p7", "text_config": {**raw, "model_type": "step3p5"}}
    assert quiet(nested, layer_type=SLIDING) == found[SLIDING]


def test_bases_by_layer_of_ultrabert(hf: SimpleNamespace) -> None:
    raw = {"model_type": "ultrabert", **SIZES, "num_hidden_layers": 3,
           "rope_theta": [1e4, 1e4, 3e6]}  # fmt: skip
    found = compared(raw, hf)
    assert (found[FULL].rope_theta, found[SLIDING].rope_theta) == (3e6, 1e4)
    with pytest.raises(RopeScaleConfigError, match=r"^rope_theta: expected one value for the lay"):
        RopeScaling.from_hf_config({**raw, "rope_theta": [1e4, 2e4, 3e6]}, layer_type=SLIDING)


@pytest.mark.parametrize("model_type", ["granite_swa", "granitemoe_swa"])
def test_a_list_of_bases(model_type: str, hf: SimpleNamespace) -> None:
    raw = {"model_type": model_type, **SIZES, "num_hidden_layers": 4,
           "layer_types": [FULL, SLIDING, SLIDING, FULL]}  # fmt: skip

    def theirs(base: float) -> torch.Tensor:
        return hf.numbers_of(hf.config_of({**raw, "rope_theta": base}))[None][0]

    # One base: the layers share one entry, whether the others rotate or not.
    for bases in ([5e4, 5e4, 5e4, 5e4], [0, 5e4, 5e4, 0]):
        assert torch.equal(quiet({**raw, "layer_rope_theta": bases}).inv_freq, theirs(5e4))
    several = {**raw, "layer_rope_theta": [5e6, 1e4, 1e4, 5e6]}
    for layer_type, base in ((FULL, 5e6), (SLIDING, 1e4)):
        assert torch.equal(quiet(several, layer_type=layer_type).inv_freq, theirs(base))
    # The class builds a rotary module for each base of the list.
    assert "for theta in sorted({theta for theta in config.layer_rope_theta" in hf.source_of(
        model_type
    )
    with pytest.raises(RopeScaleConfigError, match=r"^layer_rope_theta: expected one value"):
        RopeScaling.from_hf_config({**raw, "layer_rope_theta": [5e6, 1e4, 2e4, 5e6]})


@pytest.mark.parametrize("model_type", ["muse_glimmer_text", "muse_spark_text"])
def test_a_list_of_layers_that_rotate(model_type: str, hf: SimpleNamespace) -> None:
    # The class rotates all of them with one base, whatever the list names.
    raw = {"model_type": model_type, **SIZES, "num_hidden_layers": 4}
    (scaling,) = compared({**raw, "layer_rope_theta": [0, 7.0, 9.0, 0]}, hf).values()
    assert scaling == quiet(raw, strict=True)
    assert "if self.config.layer_rope_theta[i] else None" in hf.source_of(model_type)


def test_ernie_rotates_its_pairs_in_order(hf: SimpleNamespace) -> None:
    raw = {"model_type": "ernie4_5_vl_moe_text", **SIZES, "num_attention_heads": 10}
    config = hf.config_of(raw)
    module = hf.embedding_class(config)(config)
    cos, _ = module(torch.zeros(1), torch.full((3, 1, 1), 3))
    scaling = quiet(raw)
    # Each pair's cosine stands twice, side by side.
    assert torch.equal(cos[0, 0, ::2], (3 * scaling.inv_freq).cos())
    assert not torch.equal(cos[0, 0, ::2], (3 * module.inv_freq).cos())


def test_longrope_of_phimoe(hf: SimpleNamespace) -> None:
    half = SIZES["hidden_size"] // SIZES["num_attention_heads"] // 2
    rope = {"type": "longrope", "short_factor": [1.0] * half, "long_factor": [2.0] * half,
            "short_mscale": 1.25, "long_mscale": 1.5,
            "original_max_position_embeddings": 1024}  # fmt: skip
    raw = {"model_type": "phimoe", **SIZES, "rope_scaling": rope}
    config = hf.config_of(raw)
    module = hf.embedding_class(config)(config)
    scaling = quiet(raw)
    assert torch.equal(scaling.inv_freq, module.inv_freq)
    # The forward call of the class takes its factor from these keys, and not from the formula.
    for length, factor in ((1024, 1.25), (1025, 1.5)):
        cos, _ = module(torch.zeros(1), torch.arange(length)[None])
        assert cos[0, 0, 0] == factor == quiet(raw, seq_len=length).attention_factor
    assert module.attention_scaling not in (1.25, 1.5)
    assert any("never takes the long factors" in note for note in resolve(raw)[1])


@pytest.mark.parametrize("model_type", ["codegen", "gptj"])
def test_sinusoids_without_a_class(model_type: str) -> None:
    pytest.importorskip("transformers", minversion="5.20")
    module = importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")
    for keys, channels in (({}, 64), ({"rotary_dim": 32}, 32)):
        scaling = quiet({"model_type": model_type, "n_embd": 1280, "n_head": 8, **keys})
        sines = module.create_sinusoidal_positions(2, channels)[1, : channels // 2]
        assert torch.equal(scaling.inv_freq.sin(), sines)
        assert not torch.equal((scaling.inv_freq * 1.05).sin(), sines)


def test_nested_alone(hf: SimpleNamespace) -> None:
    rope = {FULL: {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}}
    raw = {"model_type": "cohere_compass_text", "hidden_size": 1024, "num_attention_heads": 8,
           "num_hidden_layers": 2, "rope_parameters": rope}  # fmt: skip
    scaling = compared(raw, hf)[FULL]
    assert (scaling.mrope_section, scaling.mrope_interleaved) == ([24, 20, 20], True)
    with pytest.raises(RopeScaleConfigError, match="rope_parameters: expected parameters by layer"):
        RopeScaling.from_hf_config({**raw, "rope_parameters": rope[FULL]})


@pytest.mark.parametrize("model_type", ["laguna", "gemma4_text", "mimo_v2_flash", "zaya"])
def test_flat_keys_that_a_class_does_not_read(model_type: str) -> None:
    layer_type = "hybrid" if model_type == "zaya" else FULL
    raw = {"model_type": model_type, **SIZES, "rope_theta": 54321.0}
    with pytest.warns(RopeScaleWarning, match=r"^rope_theta: expected a key that dialect 'hf'"):
        scaling = RopeScaling.from_hf_config(raw, layer_type=layer_type)
    assert scaling.rope_theta != 54321.0
    with pytest.raises(RopeScaleConfigError, match=r"^rope_scaling: expected parameters of each"):
        RopeScaling.from_hf_config({**raw, "rope_scaling": YARN}, layer_type=layer_type)
    with pytest.raises(RopeScaleUnsupportedError, match=r"of each of \[|only some pairs turn"):
        make_plan({**raw, "num_hidden_layers": 2}, 2**20)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_type": "bert"}, "model_type: expected a model with a rotary embedding, got 'be"),
        ({"model_type": "pixtral"}, "model_type: expected a model that turns by one position"),
        ({"model_type": "clip", "text_config": SIZES}, "with a rotary embedding, got 'clip'"),
        ({"model_type": "esm"}, "position_embedding_type: expected 'rotary', for a rotary"),
        ({"model_type": "zamba2"}, "use_mem_rope: expected True, for a rotary embedding, got F"),
        ({"model_type": "phi3", "rope_scaling": {"type": "linear", "factor": 2.0}},
         r"rope_type: expected one of \['default', 'longrope'\] in a phi3 model, got 'linear'"),
    ],
)  # fmt: skip
def test_what_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RopeScaleConfigError, match=message):
        RopeScaling.from_hf_config({**SIZES, **keys})


def test_an_engine_reads_what_a_class_refuses() -> None:
    rope = {"type": "linear", "factor": 2.0}
    raw = {"model_type": "recurrent_gemma", **SIZES, "rope_scaling": rope}
    assert RopeScaling.from_hf_config(raw, "vllm").factor == 2.0


@pytest.mark.parametrize(
    ("whole", "path", "part"),
    [
        ("llava", ("text_config",), {"model_type": "llama"}),
        ("llava", ("text_config",), {}),
        ("glmasr", ("text_config",), {"rope_theta": 54321.0}),
        ("voxtral", ("text_config",), {}),
        ("colpali", ("vlm_config", "text_config"), {}),
        ("qwen2_5_omni", ("thinker_config", "text_config"), {"rope_theta": 54321.0}),
        ("dia", ("decoder_config",), {}),
    ],
)
def test_a_text_model_inside(
    whole: str, path: tuple[str, ...], part: dict[str, Any], hf: SimpleNamespace
) -> None:
    raw: dict[str, Any] = {**SIZES, **part}
    for key in reversed(path):
        raw = {key: raw}
    raw["model_type"] = whole
    if whole == "colpali":
        raw["vlm_config"]["model_type"] = "paligemma"
    compared(raw, hf)


@pytest.mark.parametrize(
    ("whole", "keys"),
    [
        ("dots3_note", {"head_dim": 256, "num_key_value_heads": 8,
                        "vision_config": {"adapter_out_dim": 1280},
                        "audio_config": {"adapter_out_dim": 1280}}),
        ("fuyu", {}),
        ("hunyuan_vl", {"head_dim": 128}),
        ("paddleocr_vl", {"head_dim": 128}),
        ("fuyu", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}),
        ("hunyuan_vl", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}, "head_dim": 128}),
        ("paddleocr_vl", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}),
    ],
)  # fmt: skip
def test_flat_keys_of_a_whole_model(whole: str, keys: dict[str, Any], hf: SimpleNamespace) -> None:
    compared({"model_type": whole, **SIZES, "rope_theta": 54321.0, **keys}, hf)


def test_the_first_keys_of_hunyuan_ocr(hf: SimpleNamespace) -> None:
    rope = {"type": "xdrope", "alpha": 1000.0, "factor": 1.0, "xdrope_section": [16, 16, 16, 16]}
    raw = {"model_type": "hunyuan_vl", **SIZES, "attention_head_dim": 128, "rope_scaling": rope}
    (scaling,) = compared(raw, hf).values()
    assert (scaling.rope_type, scaling.rotary_dim) == ("ntk", 128)


def test_a_text_model_under_an_older_key(hf: SimpleNamespace) -> None:
    raw = {"model_type": "unlimited_ocr", "language_config": {**SIZES, "rope_theta": 54321.0}}
    compared(raw, hf)


def test_a_text_model_of_another_type_than_usual() -> None:
    raw = {"model_type": "instructblip", "text_config": {**SIZES, "model_type": "llama"}}
    assert RopeScaling.from_hf_config(raw).rotary_dim == 160


def test_a_caveat_of_a_class_is_said() -> None:
    notes = resolve({"model_type": "mistral_large4_text", **SIZES})[1]
    assert any("The weights `alpha` of the checkpoint multiply" in note for note in notes)


@pytest.mark.parametrize("key", ["", "rotary_dim"])
def test_a_key_without_a_name_is_not_read(key: str) -> None:
    scaling = quiet({"model_type": "llama", **SIZES, key: 64})
    assert scaling.rotary_dim == 160


def test_a_class_that_reads_no_scaling_is_not_extended() -> None:
    raw = {"model_type": "gptj", **SIZES}
    with pytest.raises(RopeScaleUnsupportedError, match="that reads rope_scaling, to reach"):
        make_plan(raw, 2**20)
