"""Model types that the table does not have: read by the evidence in their keys, or refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import layers_of, quiet, resolve

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleError, RopeScaleWarning
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config.dialects import DIALECTS
from ropescale_kernels.scaling.config.model_types import evidence
from ropescale_kernels.scaling.config.model_types.table import MODEL_TYPES

STRICT = "^model_type: expected a known model type if"
SIZES: dict[str, Any] = {
    "hidden_size": 1280,
    "num_attention_heads": 8,
    "max_position_embeddings": 4096,
}
YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 1024,
}
MLA = {"qk_rope_head_dim": 64, "qk_nope_head_dim": 96, "kv_lora_rank": 512}
MSCALES = {"mscale": 1.0, "mscale_all_dim": 1.0}
FACTORS = {"short_factor": [1.5] * 80, "long_factor": [3.0] * 80}
# By evidence, a config of the model type that it comes from.
CONFIGS: dict[tuple[str, ...], dict[str, Any]] = {
    ("kv_channels",): {"model_type": "jetmoe", "kv_channels": 128, "rope_theta": 1e4},
    ("qk_rope_head_dim",): {
        "model_type": "deepseek_v3",
        **MLA,
        "rope_scaling": {**YARN, **MSCALES, "factor": 40},
    },
    ("qk_rope_head_dim", "qk_nope_head_dim", "llama_4_scaling_beta"): {
        "model_type": "mistral4",
        **MLA,
        "rope_parameters": {**YARN, **MSCALES, "rope_theta": 1e4, "llama_4_scaling_beta": 0.1,
                            "partial_rotary_factor": 0.4},
    },
    ("llama_4_scaling_beta",): {
        "model_type": "ministral3",
        "head_dim": 128,
        "rope_parameters": {**YARN, "rope_theta": 1e6, "llama_4_scaling_beta": 0.1},
    },
    ("rotary_emb_base",): {"model_type": "gpt_neox", "rotary_emb_base": 5e5, "rotary_pct": 0.25},
    ("rotary_pct",): {"model_type": "gpt_neox", "rotary_emb_base": 5e5, "rotary_pct": 0.25},
    ("rotary_dim",): {
        "model_type": "minimax_m2", "head_dim": 128, "rotary_dim": 48, "rope_theta": 5e6,
    },
    ("rope_local_base_freq",): {
        "model_type": "gemma3_text", "head_dim": 256, "rope_theta": 5e5,
        "rope_local_base_freq": 2e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    ("global_rope_theta", "local_rope_theta"): {
        "model_type": "modernbert", "global_rope_theta": 12345.0, "local_rope_theta": 543.0,
        "rope_scaling": YARN,
    },
    ("swa_rope_theta", "swa_qk_rope_head_dim"): {
        "model_type": "dots3_note_text", "head_dim": 256, "swa_head_dim": 256,
        **MLA, "swa_qk_rope_head_dim": 32, "rope_theta": 8e7, "swa_rope_theta": 2e4,
    },
    ("compress_rope_theta",): {
        "model_type": "deepseek_v4", "head_dim": 512, "qk_rope_head_dim": 64,
        "rope_theta": 2e4, "compress_rope_theta": 2e5, "rope_scaling": YARN,
    },
    ("rope_theta",): {
        "model_type": "step3p5", "head_dim": 128, "rope_theta": [5e6, 1e4, 5e6],
        "partial_rotary_factors": [0.5, 1.0, 0.5],
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    },
    ("layer_rope_theta",): {
        "model_type": "granite_swa", "layer_rope_theta": [2e4, 2e4, 0], "rope_theta": 1e4,
    },
    ("global_head_dim",): {
        "model_type": "gemma4_text", "head_dim": 128, "global_head_dim": 256,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    ("mrope_section",): {
        "model_type": "qwen2_vl", "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": [32, 24, 24]},
    },
    ("short_factor", "long_factor"): {
        "model_type": "phi3", "rope_theta": 1e4, "original_max_position_embeddings": 1024,
        "rope_scaling": {"type": "su", **FACTORS},
    },
    ("alpha",): {
        "model_type": "hunyuan_v1_dense", "head_dim": 128, "rope_theta": 1e4,
        "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
    },
}  # fmt: skip
# Pieces that no row of the table has, each with the scaling that its keys say.
BY_MEANING: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Any]]] = {
    ("d_kv",): ({"d_kv": 96}, {"rotary_dim": 96, "rope_theta": 5e5}),
    ("rope_pct",): ({"rope_pct": 0.25}, {"rotary_dim": 40, "rope_theta": 5e5}),
    ("rotary_ndims",): ({"rotary_ndims": 48}, {"rotary_dim": 48, "rope_theta": 5e5}),
    ("swa_rope_theta",): (
        {"swa_rope_theta": 2e4, "layer_type": "sliding_attention"},
        {"rotary_dim": 160, "rope_theta": 2e4},
    ),
}
PIECES = {
    (*piece.top, *([] if piece.top else piece.one_of), *piece.lists, *piece.rope): piece
    for piece in evidence.EVIDENCE
}


def stripped(raw: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Return a config under another model type, or without one."""
    renamed = copy.deepcopy(raw)
    for part in (renamed, renamed.get("text_config") or {}):
        if part.pop("model_type", None) is not None and name is not None:
            part["model_type"] = name
    return renamed


def numbers(raw: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return everything that a config says of the rotation, or the error."""
    try:
        scaling, said = resolve(raw, **options)
    except RopeScaleError as error:
        return {"error": str(error)}
    return {
        "inv_freq": scaling.inv_freq.tolist(),
        "attention_factor": scaling.attention_factor,
        "softmax_scale_multiplier": scaling.softmax_scale_multiplier,
        "axes": (scaling.mrope_section, scaling.mrope_interleaved),
        "ignored": [x.split(":")[0] for x in said if "no effect" in x],
    }


def layers_in(raw: dict[str, Any]) -> list[str | None]:
    rope = (raw.get("text_config") or raw).get("rope_parameters") or {}
    nested: list[str | None] = [key for key, value in rope.items() if isinstance(value, dict)]
    model_type = (raw.get("text_config") or raw)["model_type"]
    return nested or layers_of(model_type)


def test_every_piece_of_evidence_has_a_config() -> None:
    assert {*CONFIGS, *BY_MEANING} == {*PIECES}
    for keys, piece in PIECES.items():
        assert piece.like == CONFIGS[keys]["model_type"] if keys in CONFIGS else True


@pytest.mark.parametrize("name", [None, "my_own"])
@pytest.mark.parametrize("keys", CONFIGS, ids="-".join)
def test_evidence_tells_what_the_row_says(
    keys: tuple[str, ...], name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = {**SIZES, **CONFIGS[keys]}
    wrong = []
    for layer_type in layers_in(raw):
        for dialect, terms in DIALECTS.items():
            want = numbers(raw, layer_type=layer_type, dialect=dialect)
            # A class of Transformers 4 has rope parameters of its own in place of the new key.
            if "error" in want or ("rope_parameters" in raw and not terms.rope_parameters):
                continue
            got = numbers(stripped(raw, name), layer_type=layer_type, dialect=dialect)
            assert got == want, (layer_type, dialect)
            with monkeypatch.context() as patch:
                others = tuple(x for x in evidence.EVIDENCE if x is not PIECES[keys])
                patch.setattr(evidence, "EVIDENCE", others)
                blind = numbers(stripped(raw, name), layer_type=layer_type, dialect=dialect)
            wrong.append(blind != want)
    assert any(wrong)


@pytest.mark.parametrize("keys", BY_MEANING, ids="-".join)
def test_keys_that_no_row_has(keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    given, meant = BY_MEANING[keys]
    layer_type = given.get("layer_type")
    raw = {**SIZES, "model_type": "my_own", "rope_theta": 5e5, **given}
    raw.pop("layer_type", None)
    want = RopeScaling.default(**meant)
    assert quiet(raw, layer_type=layer_type) == want
    monkeypatch.setattr(evidence, "EVIDENCE", ())
    assert quiet(raw, layer_type=layer_type) != want


def test_one_scaling_of_two_bases() -> None:
    raw = {**SIZES, "rope_theta": 5e5, "swa_rope_theta": 2e4, "partial_rotary_factor": 0.5}
    for spelling in ({"rope_scaling": YARN}, {"rope_parameters": {**YARN, "rope_theta": 5e5}}):
        full = quiet({**raw, **spelling}, layer_type="full_attention")
        sliding = quiet({**raw, **spelling}, layer_type="sliding_attention")
        assert (full.rope_type, full.rope_theta, full.rotary_dim) == ("yarn", 5e5, 80)
        assert (sliding.rope_type, sliding.rope_theta, sliding.rotary_dim) == ("default", 2e4, 80)
    with pytest.raises(RopeScaleConfigError, match="layer_type: expected one of"):
        quiet(raw)


def test_bases_of_layers_with_another_base_each() -> None:
    raw = {**SIZES, "rope_theta": 1e4, "layer_rope_theta": [1e6, 2e4, 0]}
    layers = ["full_attention", "sliding_attention", "chunked_attention"]
    for layer_type, base in zip(layers, (1e6, 2e4), strict=False):
        scaling, said = resolve({**raw, "layer_types": layers}, layer_type=layer_type)
        assert scaling.rope_theta == base
        assert f"layer_rope_theta gives the base {base}" in said[0]
    with pytest.raises(RopeScaleConfigError, match=r"^layer_type: expected one of"):
        quiet({**raw, "layer_types": layers}, layer_type="chunked_attention")


# Published configs whose keys do not tell the rotation: the class adds the sizes of heads; the
# class leaves sliding layers unscaled.
REFUSED = {"gemma-3-4b-it"}
OTHER = {("olmo-3.1-32b-instruct", "sliding_attention")}


@pytest.mark.parametrize("name", [None, "my_own"])
def test_published_configs_without_their_type(published: SimpleNamespace, name: str | None) -> None:
    for layer_type in layers_in(published.raw):
        want = numbers(published.raw, layer_type=layer_type)
        raw = stripped(published.raw, name)
        got = numbers(raw, layer_type=layer_type)
        if published.name in REFUSED:
            assert got["error"].startswith("num_attention_heads: expected")
            continue
        if (published.name, layer_type) in OTHER:
            assert got != want
            said = resolve(raw, layer_type=layer_type)[1]
            assert "one rope_scaling serves every layer" in said[0]
            continue
        assert got == want, layer_type


ALL_MLA = [name for name, row in MODEL_TYPES.items() if row.softmax_mscale and name != "kimi_k2"]


@pytest.mark.parametrize("model_type", ALL_MLA)
def test_what_a_class_with_mla_writes(model_type: str, hf: SimpleNamespace) -> None:
    written = hf.config_of({"model_type": model_type, **SIZES}).to_dict()
    written["rope_parameters"] |= {**YARN, **MSCALES}
    want = numbers(written)
    assert want["softmax_scale_multiplier"] == pytest.approx(1.138629436**2)
    assert numbers(stripped(written, None)) == want
    assert numbers(stripped(written, "my_own")) == want


@pytest.mark.parametrize("name", [None, "my_deepseek"])
def test_deepseek_without_its_name(name: str | None, configs: Path) -> None:
    raw = stripped(json.loads((configs / "deepseek-v3.json").read_text()), name)
    scaling, said = resolve(raw)
    assert scaling.rotary_dim == 64
    assert scaling.softmax_scale_multiplier == pytest.approx(1.87385, abs=5e-6)
    (only,) = said
    got = "no such key" if name is None else "'my_deepseek'"
    assert only.startswith(f"model_type: expected a known model type, got {got}. Read by its keys:")
    for fact in (
        "qk_rope_head_dim 64 gives 64 rotary channels",
        "rope_theta gives the base 10000",
        "rope_type 'yarn'",
        "mscale_all_dim 1.0 multiplies the softmax scale",
        "qk_rope_head_dim, qk_nope_head_dim, kv_lora_rank as in deepseek_v3",
    ):
        assert fact in only
    with pytest.raises(RopeScaleConfigError, match=r"^model_type: .*\(deepseek_v3\), or read with"):
        RopeScaling.from_hf_config(raw, strict=True)
    del raw["rope_scaling"]["mscale_all_dim"]
    scaling, said = resolve(raw)
    assert scaling.softmax_scale_multiplier == 1.0
    assert "no key multiplies the softmax scale" in said[0]


@pytest.mark.parametrize(
    ("keys", "fact"),
    [
        ({}, "hidden_size 1280 // num_attention_heads 8 gives 160 rotary channels"),
        ({"head_dim": 64}, "head_dim 64 gives 64 rotary channels"),
        ({"head_dim": 64}, "no key gives the base, so 10000.0 is taken"),
        ({"partial_rotary_factor": 0.5}, "8 times partial_rotary_factor 0.5 gives 80 rotary"),
        ({"rotary_dim": 32}, "rotary_dim of hidden_size 1280 // num_attention_heads 8 gives 32"),
        ({"rope_parameters": {**YARN, "rope_theta": 7e5}}, "rope_theta gives the base 700000.0"),
        ({"rope_parameters": {**YARN}}, "rope_type 'yarn'"),
    ],
)
@pytest.mark.parametrize("name", [{}, {"model_type": "my_own"}])
def test_what_was_assumed_is_said(keys: dict[str, Any], fact: str, name: dict[str, Any]) -> None:
    raw = {**SIZES, **keys, **name}
    with pytest.warns(RopeScaleWarning, match="^model_type: ") as caught:
        RopeScaling.from_hf_config(raw)
    assert len(caught) == 1
    assert fact in str(caught[0].message)
    with pytest.raises(RopeScaleConfigError, match=STRICT):
        RopeScaling.from_hf_config(raw, strict=True)


NAMED: dict[str, Any] = {"head_dim": 64, "rope_theta": 5e5}


def test_a_dict_that_leaves_nothing_open_needs_no_type(recwarn: pytest.WarningsRecorder) -> None:
    for rope in ({}, {"rope_scaling": YARN}, {"rope_parameters": {**YARN, "rope_theta": 5e5}}):
        raw = {**NAMED, "max_position_embeddings": 4096, **rope}
        assert RopeScaling.from_hf_config(raw, strict=True).rope_theta == 5e5
    assert not recwarn.list
    # Under a name that is not known, the class may read other keys.
    with pytest.raises(RopeScaleConfigError, match=rf"{STRICT} strict, got 'my_own'"):
        RopeScaling.from_hf_config({**NAMED, "model_type": "my_own"}, strict=True)


@pytest.mark.parametrize(
    "keys",
    [
        {"head_dim": None, **SIZES},
        {"rope_theta": None},
        {"partial_rotary_factor": 0.5},
        {"rope_scaling": {"rope_type": "default", "mrope_section": [8, 12, 12]}},
        {
            "rope_scaling": YARN,
            "max_position_embeddings": 4096,
            "layer_types": ["full_attention", "sliding_attention"],
        },
        {**MLA},
    ],
)
def test_what_the_keys_leave_open(keys: dict[str, Any]) -> None:
    with pytest.raises(RopeScaleConfigError, match=STRICT):
        RopeScaling.from_hf_config({**NAMED, **keys}, strict=True)


def test_latent_attention_without_rotation() -> None:
    raw = {**SIZES, **MLA, "model_type": "my_linear", "mla_use_nope": True}
    with pytest.raises(RopeScaleConfigError, match=r"^mla_use_nope: expected false, .*got True"):
        RopeScaling.from_hf_config(raw)
    assert quiet({**raw, "mla_use_nope": False}).rotary_dim == 64


def test_nulls_are_no_evidence() -> None:
    raw = {**SIZES, "model_type": "my_own", "rope_theta": 5e5, "qk_rope_head_dim": 64}
    empty = {"kv_lora_rank": None, "rotary_pct": None, "rotary_emb_base": None, "rotary_dim": None}
    scaling, said = resolve({**raw, **empty})
    assert (scaling.rotary_dim, scaling.rope_theta) == (160, 5e5)
    assert [x.split(":")[0] for x in said] == ["model_type", "qk_rope_head_dim"]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "4", "yarn"])
ANY = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.sampled_from("ab"), PLAIN)
TOP = sorted(
    {key for piece in evidence.EVIDENCE for key in (*piece.top, *piece.one_of, *piece.lists)}
)
IN_ROPE = sorted({key for piece in evidence.EVIDENCE for key in piece.rope})


@settings(deadline=None, max_examples=200, derandomize=True, database=None)
@given(
    top=st.dictionaries(
        st.sampled_from([*TOP, "rope_theta", "head_dim", "layer_types", "my_rope", "part"]), ANY
    ),
    rope=st.dictionaries(st.sampled_from([*IN_ROPE, "rope_type", "type", "factor"]), ANY),
    layer_type=st.sampled_from([None, "full_attention", "sliding_attention"]),
    dialect=st.sampled_from(sorted(DIALECTS)),
    strict=st.booleans(),
)
def test_no_config_fails_but_on_purpose(
    top: dict[str, Any], rope: dict[str, Any], layer_type: str | None, dialect: str, strict: bool
) -> None:
    raw = {**SIZES, **top, "rope_scaling": rope}
    try:
        scaling = quiet(raw, dialect=dialect, layer_type=layer_type, strict=strict)
    except RopeScaleError:
        return
    assert torch.isfinite(scaling.inv_freq).all()
