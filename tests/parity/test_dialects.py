"""The dialects: the parity notes' table, what the engines themselves compute, and each point."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from support.configs import resolve

from ropescale_kernels.errors import (
    RopeScaleConfigError,
    RopeScaleUnsupportedError,
    RopeScaleWarning,
)
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config.dialects import DIALECTS
from ropescale_kernels.scaling.rules.blend import correction_range
from tools import engine_cases
from tools.engine_cases import CASES, DEEPSEEK, DEEPSEEK_ROPE, QWEN3, QWEN3_ROPE, row

ENGINES = json.loads((Path(__file__).parent.parent / "fixtures" / "engines.json").read_text())
GOLDENS = [(engine, name) for engine, run in ENGINES.items() for name in run["configs"]]


def factor(raw: Any, dialect: str, **options: Any) -> float:
    return resolve(raw, dialect=dialect, **options)[0].attention_factor


def _config(name: str, configs: Path) -> tuple[Any, str | None]:
    name, _, layer_type = name.partition("/")
    raw = CASES.get(name) or json.loads((configs / f"{name}.json").read_text())
    return raw, layer_type or None


def _ulps(got: torch.Tensor, want: torch.Tensor) -> int:
    return int((got.view(torch.int32).long() - want.view(torch.int32).long()).abs().max())


@pytest.mark.parametrize(("engine", "name"), GOLDENS)
def test_engine_agrees(engine: str, name: str, configs: Path) -> None:
    raw, layer_type = _config(name, configs)
    want = ENGINES[engine]["configs"][name]
    scaling, _ = resolve(raw, dialect=engine, layer_type=layer_type)
    assert scaling.attention_factor == want["attention_factor"]
    assert scaling.softmax_scale_multiplier == want["softmax_scale_multiplier"]
    inv_freq = torch.tensor(want["inv_freq"])
    # Their dynamic rules hold no frequencies, only cosines, from which those below 0.02 are lost.
    if want["class"].startswith("DynamicNTK"):
        seen = inv_freq > 0.02
        torch.testing.assert_close(scaling.inv_freq[seen], inv_freq[seen], rtol=3e-4, atol=0)
    else:
        # The golden bits are of another process; its pow may differ in the last bit.
        assert _ulps(scaling.inv_freq, inv_freq) <= 2


def test_goldens_are_of_the_releases_that_the_dialects_name() -> None:
    for engine, run in ENGINES.items():
        assert run["release"].startswith(DIALECTS[engine].release)
        assert not [name for name, found in run["configs"].items() if "error" in found]


# The parity notes' fixture table: the attention factor, and where given another dialect's.
TABLE: dict[str, dict[str, float]] = {
    "yarn": dict.fromkeys(DIALECTS, 1.138629436) | {"deepseek": 1.0},
    "yarn, max_position_embeddings 40960": {"hf": 1.138629436, "hf-4.51": 1.022314355},
    "deepseek, mscale 1 and 1": {"hf": 1.0, "vllm": 1.0, "sglang": 1.0, "deepseek": 1.0},
    "yarn, truncate false": {"hf": 1.34657359, "vllm": 1.34657359, "sglang": 1.34657359},
    "yarn, attention_factor 1": {"hf": 1.0, "vllm": 1.0, "sglang": 1.415888, "original": 1.415888},
    "yarn, attn_factor 0.878": {"hf": 1.138629, "vllm": 1.138629, "sglang": 1.0, "original": 1.0},
    "yarn, mscale 1 and 1": {"hf": 1.0, "vllm": 1.0, "sglang": 1.0, "hf-4.45": 1.277258872},
    "yarn, mscale 0 and 0": {"hf": 1.138629436, "vllm": 1.138629436, "sglang": 1.0},
}  # fmt: skip


@pytest.mark.parametrize(("name", "dialect"), [(n, d) for n, row in TABLE.items() for d in row])
def test_table_of_the_notes(name: str, dialect: str) -> None:
    assert factor(CASES[name], dialect) == pytest.approx(TABLE[name][dialect], abs=1e-6)


LIMITS = {
    ("yarn", "hf"): (23, 40),
    ("yarn, max_position_embeddings 40960", "hf-4.45"): (24, 41),
    ("yarn, truncate false", "hf"): (8.0928, 17.398),
    ("yarn, truncate false", "vllm"): (8.0928, 17.398),
    ("yarn, truncate false", "sglang"): (8.0928, 17.398),
    ("yarn, truncate false", "hf-4.51"): (8, 18),
    ("yarn, truncate false", "original"): (8, 18),
    ("deepseek, truncate false", "vllm"): (10, 23),
    ("deepseek, truncate false", "sglang"): (10, 23),
    ("deepseek, truncate false", "deepseek"): (10, 23),
}


@pytest.mark.parametrize(("name", "dialect"), LIMITS)
def test_limits_of_the_ramp(name: str, dialect: str) -> None:
    scaling, _ = resolve(CASES[name], dialect=dialect)
    assert correction_range(scaling._parameters) == pytest.approx(LIMITS[name, dialect], rel=1e-4)


def test_every_dialect_has_a_row_here_and_says_who_it_is() -> None:
    for name, dialect in DIALECTS.items():
        scaling, _ = resolve(CASES["yarn"], dialect=name)
        assert scaling._parameters.dialect == name == dialect.name
    prints = {resolve(CASES["yarn"], dialect=name)[0].fingerprint() for name in DIALECTS}
    assert len(prints) == len(DIALECTS)


def test_ignored_keys_are_named_by_each_dialect() -> None:
    raw = row(QWEN3, QWEN3_ROPE, 131072, attention_factor=1.25, attn_factor=0.5, mscale=0.7,
              mscale_all_dim=0.7, truncate=False, beta_fast=16.0)  # fmt: skip
    ignored = {
        "hf": {"attn_factor"},
        "hf-4.51": {"attn_factor", "truncate"},
        "hf-4.45": {"attn_factor", "truncate", "mscale", "mscale_all_dim",
                    "original_max_position_embeddings"},
        "vllm": {"attn_factor"},
        "sglang": {"attention_factor"},
        "deepseek": {"attention_factor", "attn_factor", "mscale", "truncate"},
        "original": {"attention_factor", "mscale", "mscale_all_dim", "truncate"},
    }  # fmt: skip
    for dialect, keys in ignored.items():
        _, messages = resolve(raw, dialect=dialect)
        named = {m.split("'")[1] for m in messages if m.startswith("rope_scaling['")}
        assert named == keys, dialect
        assert all(f"dialect '{dialect}' reads" in message for message in messages)
        with pytest.raises(RopeScaleConfigError, match=f"dialect '{dialect}' reads"):
            RopeScaling.from_hf_config(raw, dialect=dialect, strict=True)


def test_before_transformers_5_rope_parameters_are_not_read() -> None:
    raw = {**QWEN3, "rope_theta": None, "max_position_embeddings": 131072,
           "rope_parameters": {**QWEN3_ROPE, "rope_theta": 1e6}}  # fmt: skip
    for dialect in ("hf-4.45", "hf-4.51"):
        scaling, messages = resolve(raw, dialect=dialect)
        assert scaling.rope_type == "default"
        assert scaling.rope_theta == 1e4
        assert len(messages) == 1
        assert messages[0].startswith("rope_parameters: ")
    assert resolve(raw)[0].rope_type == "yarn"


def test_ratio_dialect_says_that_the_factor_is_not_used() -> None:
    scaling, messages = resolve(CASES["yarn, max_position_embeddings 40960"], dialect="hf-4.51")
    assert scaling.factor == 1.25
    assert len(messages) == 1
    assert "40960 / 32768 = 1.25, got 4.0" in messages[0]


def test_deepseek_scales_only_what_is_longer() -> None:
    raw = CASES["deepseek, mscale 1 and 1"]
    assert resolve(raw, dialect="deepseek", seq_len=4096)[0].rope_type == "default"
    longer, _ = resolve(raw, dialect="deepseek", seq_len=4097)
    assert longer.softmax_scale_multiplier == pytest.approx(1.8739, abs=5e-5)
    assert longer.attention_factor == 1.0
    for dialect in set(DIALECTS) - {"deepseek"}:
        assert resolve(raw, dialect=dialect, seq_len=1)[0].rope_type == "yarn", dialect
    # Whatever the ratio is on q and k elsewhere.
    raw = CASES["deepseek, mscale 0.707 and 1"]
    assert factor(raw, "deepseek") == 1.0
    assert factor(raw, "vllm") == pytest.approx(0.921042, abs=1e-6)


def test_sglang_takes_one_for_a_missing_factor() -> None:
    raw = row(QWEN3, {"rope_type": "yarn", "original_max_position_embeddings": 32768}, 131072)
    scaling, messages = resolve(raw, dialect="sglang")
    assert scaling.factor == 1.0
    assert any("takes 1, which scales nothing" in message for message in messages)
    with pytest.raises(RopeScaleConfigError, match=r"factor: .*no such key"):
        RopeScaling.from_hf_config(raw, dialect="vllm")


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "deepseek", "original"])
def test_betas_and_a_null_factor_are_used_as_given(dialect: str) -> None:
    for top, rope in ((QWEN3, QWEN3_ROPE), (DEEPSEEK, DEEPSEEK_ROPE)):
        for more, name in (
            ({"beta_fast": 0}, "beta_fast"),
            ({"beta_slow": None}, "beta_slow"),
            ({"factor": None}, "factor"),
        ):
            with pytest.raises(RopeScaleConfigError, match=f"{name}: expected"):
                resolve(row(top, rope, 163840, **more), dialect=dialect)


@pytest.mark.parametrize("dialect", ["sglang", "original"])
def test_a_weighed_ramp_is_refused(dialect: str) -> None:
    with pytest.raises(RopeScaleUnsupportedError, match="extrapolation_factor: "):
        resolve(row(DEEPSEEK, DEEPSEEK_ROPE, 163840, extrapolation_factor=0.5), dialect=dialect)
    with pytest.raises(RopeScaleUnsupportedError, match=r"extrapolation_factor: .*0\.5"):
        resolve(row(QWEN3, QWEN3_ROPE, 131072, extrapolation_factor=0.5), dialect=dialect)
    assert resolve(row(QWEN3, QWEN3_ROPE, 131072, extrapolation_factor=1), dialect=dialect)


@pytest.mark.parametrize("dialect", ["hf", "hf-4.51", "hf-4.45", "vllm", "deepseek"])
def test_elsewhere_that_key_is_ignored(dialect: str) -> None:
    raw = row(QWEN3, QWEN3_ROPE, 131072, extrapolation_factor=0.5)
    _, messages = resolve(raw, dialect=dialect)
    assert any(message.startswith("rope_scaling['extrapolation_factor']") for message in messages)


@pytest.mark.parametrize("dialect", ["deepseek", "original"])
def test_rules_that_a_dialect_has_not(dialect: str) -> None:
    with pytest.raises(RopeScaleUnsupportedError, match=r"rope_type: .*'linear'"):
        resolve(CASES["linear"], dialect=dialect)


def test_vllm_measures_a_multimodal_ramp_in_four_lengths() -> None:
    multimodal, _ = resolve(engine_cases.QWEN2_VL, dialect="vllm")
    assert multimodal.original_max_position_embeddings == 4 * 32768
    for dialect in set(DIALECTS) - {"vllm", "hf-4.45"}:
        scaling, _ = resolve(engine_cases.QWEN2_VL, dialect=dialect)
        assert scaling.original_max_position_embeddings == 32768, dialect


def test_where_the_trained_length_may_stand() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0}
    raw = {**row(QWEN3, rope, 131072), "original_max_position_embeddings": 32768}
    for dialect in DIALECTS:
        # The deepseek dialect scales only what is longer than L, which here is the maximum.
        scaling, messages = resolve(raw, dialect=dialect, seq_len=200_000)
        read = dialect in ("hf", "vllm", "sglang")
        assert scaling.original_max_position_embeddings == (32768 if read else 131072), dialect
        named = any(m.startswith("original_max_position_embeddings: ") for m in messages)
        assert named is not read


def test_a_null_factor() -> None:
    raw = row(QWEN3, QWEN3_ROPE, 131072, factor=None)
    # Null is the ratio in release 5; in 4.51 the ratio counts whatever the factor says.
    assert resolve(raw)[0].factor == resolve(raw, dialect="hf-4.51")[0].factor == 4.0
    bare = {**raw, "rope_scaling": {"rope_type": "yarn", "factor": None}}
    assert resolve(bare)[0].factor == 1.0
    for config, dialect in ((raw, "hf-4.45"), (bare, "hf-4.51")):
        with pytest.raises(RopeScaleConfigError, match=r"factor: .*got None"):
            resolve(config, dialect=dialect)


def test_a_share_of_the_head_without_scaling() -> None:
    raw = {"model_type": "llama", "head_dim": 128, "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    for dialect in DIALECTS:
        scaling, messages = resolve(raw, dialect=dialect)
        # Llama's class of release 5 rotates whole heads where nothing is scaled.
        assert scaling.rotary_dim == (128 if dialect == "hf" else 64), dialect
        assert bool(messages) is (dialect == "hf")


def test_llama3_without_its_factors() -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    for dialect in ("hf", "hf-4.51", "hf-4.45", "vllm"):
        with pytest.raises(RopeScaleConfigError, match=r"low_freq_factor: .*no such key"):
            resolve(row(QWEN3, rope, 131072), dialect=dialect)
    scaling, messages = resolve(row(QWEN3, rope, 131072), dialect="sglang")
    assert (
        scaling
        == resolve(
            row(QWEN3, rope, 131072, low_freq_factor=1.0, high_freq_factor=4.0), dialect="sglang"
        )[0]
    )
    assert len(messages) == 2


def test_zeros() -> None:
    # A beta of 0 is the default in every release of Transformers; a 0 among mscales is none.
    for dialect in ("hf", "hf-4.51", "hf-4.45"):
        scaling, messages = resolve(row(QWEN3, QWEN3_ROPE, 131072, beta_fast=0), dialect=dialect)
        plain, _ = resolve(CASES["yarn"], dialect=dialect)
        assert torch.equal(scaling.inv_freq, plain.inv_freq)
        assert any(f"Dialect '{dialect}' takes 32.0 instead" in message for message in messages)
    for dialect in ("hf", "hf-4.51", "hf-4.45", "vllm", "original"):
        for name in ("yarn, mscale 0 and 0", "yarn, mscale 1 and 0"):
            assert factor(CASES[name], dialect) == pytest.approx(1.138629436)


def test_nested_truncate(configs: Path) -> None:
    raw = json.loads((configs / "olmo-3.1-32b-instruct-v5.json").read_text())
    raw["rope_parameters"]["full_attention"]["truncate"] = False
    for dialect, read in {"hf": False, "vllm": True, "sglang": True}.items():
        scaling, messages = resolve(raw, dialect=dialect, layer_type="full_attention")
        assert scaling._parameters.truncate is not read
        assert any("truncate" in message for message in messages) is not read


def test_sglang_has_no_mscale_beside_mrope() -> None:
    text = engine_cases.QWEN2_VL["text_config"]
    rope = {**text["rope_scaling"], "mscale": 1.0, "mscale_all_dim": 1.0}
    raw = {**engine_cases.QWEN2_VL, "text_config": {**text, "rope_scaling": rope}}
    with pytest.raises(RopeScaleConfigError, match=r"mscale: .*mrope_section.*1\.0"):
        resolve(raw, dialect="sglang")
    for dialect in ("hf", "hf-4.51", "vllm"):
        assert factor(raw, dialect) == 1.0


def test_softmax_switches() -> None:
    raw = row(DEEPSEEK, DEEPSEEK_ROPE, 163840, mscale=1.0, mscale_all_dim=1.0)
    off = {**raw, "rope_scaling": {**raw["rope_scaling"], "apply_yarn_scaling": False}}
    assert resolve(off, dialect="sglang")[0].softmax_scale_multiplier == 1.0
    assert resolve(raw, dialect="sglang")[0].softmax_scale_multiplier > 1.8
    assert resolve(raw, dialect="original")[0].softmax_scale_multiplier == 1.0
    one = CASES["deepseek, attention_factor 1"]
    softmax = {d: resolve(one, dialect=d)[0].softmax_scale_multiplier for d in DIALECTS}
    assert {d for d, multiplier in softmax.items() if multiplier > 1.8} == {
        "hf", "hf-4.51", "sglang", "deepseek",
    }  # fmt: skip


def test_whose_softmax_scale_is_multiplied() -> None:
    for dialect in DIALECTS:
        qwen, _ = resolve(CASES["yarn, mscale 1 and 1"], dialect=dialect)
        assert (qwen.softmax_scale_multiplier > 1) is (dialect == "deepseek"), dialect


def test_dynamic_ntk_follows_the_length_in_transformers_alone() -> None:
    raw = {**CASES["dynamic"], "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}
    for dialect in ("hf", "hf-4.51", "hf-4.45", "vllm", "sglang"):
        scaling, _ = resolve(raw, dialect=dialect)
        follows = dialect.startswith("hf")
        assert scaling.depends_on_seq_len is follows
        # 4 * 4 - (4 - 1): SGLang's base is that of four times the maximum, whatever is asked.
        if dialect == "sglang":
            want = RopeScaling.ntk(rotary_dim=128, rope_theta=1e6, factor=13.0)
            assert torch.equal(scaling.inv_freq, want.inv_freq)


def test_vllm_dynamic_ntk_needs_the_trained_length() -> None:
    raw = CASES["dynamic"]
    scaling, messages = resolve(raw, dialect="vllm")
    assert torch.equal(scaling.inv_freq, scaling.base_inv_freq)
    assert any("Nothing is scaled" in message for message in messages)
    trained = {**raw["rope_scaling"], "max_trained_positions": 1024}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RopeScaleWarning)
        scaled = RopeScaling.from_hf_config({**raw, "rope_scaling": trained}, dialect="vllm")
    # 4 * 4096 / 1024 - (4 - 1)
    assert scaled == scaled.at_seq_len(10**6)
    assert torch.equal(
        scaled.inv_freq, RopeScaling.ntk(rotary_dim=128, rope_theta=1e6, factor=13.0).inv_freq
    )


def test_engines_longrope_magnitudes(configs: Path) -> None:
    raw = json.loads((configs / "phi-4-mini-instruct.json").read_text())
    raw["rope_scaling"] |= {"short_mscale": 1.1, "long_mscale": 1.2, "attention_factor": 3.0}
    for dialect in ("vllm", "sglang"):
        assert factor(raw, dialect) == 1.1
        assert factor(raw, dialect, seq_len=4096) == 1.1
        assert factor(raw, dialect, seq_len=4097) == 1.2
    assert factor(raw, "hf") == 3.0
