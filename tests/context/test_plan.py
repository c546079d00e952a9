"""Plans: the factor's origin, rules that cannot go on, keys that read back, commands, memory."""

from __future__ import annotations

import copy
import json
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ropescale_kernels.context.kv_cache import KVCache, kv_cache, worded_bytes
from ropescale_kernels.context.plan import Plan, make_plan
from ropescale_kernels.context.text_config import TextConfig
from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleError, RopeScaleUnsupportedError
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.model_types import MODEL_TYPES

Published = Callable[[str], dict[str, Any]]
FIXTURES = Path(__file__).parent.parent / "fixtures"
NAMES = sorted(path.stem for path in (FIXTURES / "configs").glob("*.json"))
FLAGS = json.loads((FIXTURES / "engine_flags.json").read_text())
TARGETS = (4096, 40961, 131072, 262144, 1_000_000)


def quiet(config: Any, **options: Any) -> RopeScaling:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RopeScaling.from_hf_config(config, **options)


def plans(published: Published) -> list[tuple[str, int, Plan]]:
    made = []
    for name in NAMES:
        for target in TARGETS:
            try:
                made.append((name, target, make_plan(published(name), target)))
            except RopeScaleUnsupportedError:
                assert name.startswith(("llama-3", "phi-4"))
    return made


def test_the_question_that_people_ask(published: Published) -> None:
    # "max_position_embeddings is 40960 and I want 128k": not 131072 / 40960 = 3.2.
    plan = make_plan(published("qwen3-8b"), 131072)
    assert plan.needed
    assert plan.planned["factor"] == 4.0
    assert plan.planned["attention_factor"] == 1.138629436111989
    assert plan.lengths.original == 32768
    assert plan.lengths.source == "the model card of qwen3"
    assert plan.verdict.startswith("Scaling is needed: 131,072 tokens are 4 times the 32,768")
    assert any("40,960 would give 3.2" in warning for warning in plan.warnings)
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert plan.changes == {"max_position_embeddings": 131072, "rope_scaling": rope}
    assert plan.transformers_5["rope_parameters"] == {**rope, "rope_theta": 1e6}


def test_what_fits_needs_nothing(published: Published) -> None:
    for target in (1, 32768, 40960):
        plan = make_plan(published("qwen3-8b"), target)
        assert not plan.needed
        assert plan.changes == plan.transformers_4 == plan.transformers_5 == {}
        assert plan.config == published("qwen3-8b")
        assert plan.verdict.startswith("No scaling is needed")
        assert "--hf-overrides" not in plan.commands["vllm"]


def test_a_factor_that_reaches_needs_only_the_maximum(published: Published) -> None:
    plan = make_plan(published("qwen3-8b-yarn"), 131072)
    assert not plan.needed
    assert plan.changes == {"max_position_embeddings": 131072}
    assert "engines stop at max_position_embeddings 40,960" in plan.verdict
    assert plan.planned == plan.current | {"fingerprint": plan.planned["fingerprint"]}


def test_given_length_wins(published: Published) -> None:
    plan = make_plan(published("mistral-7b-v0.3"), 131072, original_length=16384)
    assert plan.planned["factor"] == 8.0
    assert not any("does not say" in warning for warning in plan.warnings)
    guess = make_plan(published("mistral-7b-v0.3"), 131072)
    assert guess.planned["factor"] == 4.0
    assert any("--original-length" in warning for warning in guess.warnings)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("llama-3.1-8b", "Its frequencies were trained with"),
        ("phi-4-mini-instruct", "Its factors were searched for"),
        ("phi-4", "a model whose config class takes yarn"),
    ],
)
def test_rules_that_cannot_be_carried_further(name: str, reason: str, published: Published) -> None:
    with pytest.raises(RopeScaleUnsupportedError, match="rope_type: ") as error:
        make_plan(published(name), 262144)
    assert reason in str(error.value)


@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", "factor": 2.0}])
def test_dynamic_needs_no_edit(rope: dict[str, Any], published: Published) -> None:
    raw = {**published("mistral-7b-v0.3"), "rope_scaling": rope}
    with pytest.raises(RopeScaleUnsupportedError, match="lets its base follow the length"):
        make_plan(raw, 65536)


def test_explicit_attention_factor(published: Published) -> None:
    plan = make_plan(published("olmo-3.1-32b-instruct-v5"), 131072)
    rope = plan.config["rope_parameters"]
    assert isinstance(rope, dict)
    assert rope["sliding_attention"] == {"rope_type": "default", "rope_theta": 500000}
    # 1.2079 was the formula's at factor 8: at 16 it would be wrong.
    assert "attention_factor" not in rope["full_attention"]
    assert plan.planned["attention_factor"] == pytest.approx(1.2772588722)
    raw = published("qwen3-8b-yarn")
    raw["rope_scaling"]["attention_factor"] = 1.0
    kept = make_plan(raw, 262144)
    assert kept.planned["attention_factor"] == 1.0
    assert any("attention_factor stays 1.0" in warning for warning in kept.warnings)


def test_every_plan_reads_back_in_every_form(published: Published) -> None:
    for name, target, plan in plans(published):
        if not plan.needed:
            continue
        raw = published(name)
        layer_type = plan.layer_type
        want = (plan.planned["factor"], plan.planned["attention_factor"])
        model = (raw.get("text_config") or raw)["model_type"]
        # The keys alone, with what the class needs to know of the model.
        for keys in (plan.transformers_4, plan.transformers_5):
            merged = copy.deepcopy(raw)
            text = merged.get("text_config") or merged
            for key in ("rope_scaling", "rope_parameters"):
                text.pop(key, None)
            new = keys.get("text_config", keys)
            assert isinstance(new, dict)
            text.update(new)
            scaling = quiet(merged, layer_type=layer_type)
            assert (scaling.factor, scaling.attention_factor) == want, (name, target, model)
        config = plan.config
        scaling = quiet(config, layer_type=layer_type)
        assert (scaling.factor, scaling.attention_factor) == want
        assert {key for key in config if config[key] != raw.get(key)} == set(plan.changes)
        # The factor and the ratio of the lengths agree, so that it does not matter who reads which.
        if plan.planned["rope_type"] == "yarn":
            assert plan.lengths.original * scaling.factor == pytest.approx(target, rel=1e-12)


def test_transformers_reads_the_plan_as_meant(published: Published) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    for name in ("qwen3-8b", "deepseek-v3", "gpt-oss-20b", "mistral-7b-v0.3", "gemma-3-4b-it"):
        plan = make_plan(published(name), 262144)
        raw = copy.deepcopy(plan.config)
        text = raw.get("text_config") or raw
        assert isinstance(text, dict)
        config = transformers.AutoConfig.for_model(text.pop("model_type"), **text)
        kwargs = {} if plan.layer_type is None else {"layer_type": plan.layer_type}
        rope = config.rope_parameters
        rope = rope if plan.layer_type is None else rope[plan.layer_type]
        inv_freq, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, None, **kwargs)
        scaling = quiet(plan.config, layer_type=plan.layer_type)
        assert torch.equal(scaling.inv_freq, inv_freq), name
        assert scaling.attention_factor == factor


def test_commands_use_documented_flags(published: Published) -> None:
    for name, target, plan in plans(published):
        assert set(plan.commands) == set(FLAGS)
        for engine, command in plan.commands.items():
            words = shlex.split(command)
            program = FLAGS[engine]["program"]
            assert words[: len(program)] == program
            flags = [word for word in words if word.startswith("--")]
            assert set(flags) <= set(FLAGS[engine]["flags"]), (name, engine)
            assert str(target) in words
            for word in words:
                if word.startswith("{"):
                    assert json.loads(word) == json.loads(json.dumps(plan.transformers_5))


def test_llama_cpp_gets_what_is_not_its_default(published: Published) -> None:
    plain = make_plan(published("qwen3-8b"), 131072).commands["llama.cpp"]
    assert plain.endswith("--rope-scaling yarn --rope-scale 4.0 --yarn-orig-ctx 32768")
    # Kimi's betas are both 1, and its magnitude 1 is 1 / (0.1 ln 64 + 1) of the formula's.
    kimi = make_plan(published("kimi-k2-instruct"), 262144).commands["llama.cpp"]
    assert "--yarn-attn-factor 0.706270" in kimi
    assert kimi.endswith("--yarn-beta-fast 1 --yarn-beta-slow 1")
    linear = make_plan(published("gemma-3-4b-it"), 262144).commands["llama.cpp"]
    assert linear.endswith("--rope-scaling linear --rope-scale 16")


@pytest.mark.parametrize(
    ("name", "want"),
    [
        # 2 * 36 layers * 8 heads * 128 channels * 2 bytes * tokens.
        ("qwen3-8b", 2 * 36 * 8 * 128 * 2 * 131072),
        # One latent of 512 and 64 rotated channels a layer.
        ("deepseek-v3", 61 * (512 + 64) * 2 * 131072),
        # Half of the layers see 128 tokens.
        ("gpt-oss-20b", 2 * 8 * 64 * 2 * 12 * (131072 + 128)),
        # Every sixth of 34 layers sees all.
        ("gemma-3-4b-it", 2 * 4 * 256 * 2 * (5 * 131072 + 29 * 1024)),
        # One head for all queries.
        ("falcon-7b", 2 * 32 * 1 * 64 * 2 * 131072),
        # Three of four layers hold a state that does not grow.
        ("qwen3-next-80b-a3b-instruct", 2 * 12 * 2 * 256 * 2 * 131072),
        # Three of four layers see chunks of 8192.
        ("llama-4-scout-17b-16e", 2 * 8 * 128 * 2 * (12 * 131072 + 36 * 8192)),
    ],
)
def test_kv_cache(name: str, want: int, published: Published) -> None:
    cache = kv_cache(TextConfig(published(name)), 131072)
    assert isinstance(cache, KVCache)
    assert cache.bytes == want
    assert cache.bytes_fp8 * 2 == want
    longer = kv_cache(TextConfig(published(name)), 131073)
    assert isinstance(longer, KVCache)
    assert longer.bytes - cache.bytes == cache.bytes_per_token


def test_kv_cache_that_cannot_be_told(published: Published) -> None:
    raw = published("qwen3-8b")
    del raw["num_hidden_layers"]
    cache = kv_cache(TextConfig(raw), 4096)
    assert cache == "num_hidden_layers: expected an integer in the config, got no such key"
    assert "heads of one size" in str(
        kv_cache(TextConfig({"model_type": "gemma4_text", "num_hidden_layers": 6}), 4096)
    )


def test_bytes_in_words() -> None:
    words = [worded_bytes(count) for count in (512, 2**20, 3 * 2**30, 5 * 2**40)]
    assert words == ["0.50 KiB", "1.00 MiB", "3.00 GiB", "5.00 TiB"]


def test_other_magnitudes_are_named(published: Published) -> None:
    plan = make_plan(published("deepseek-r1-0528-qwen3-8b"), 262144)
    named = {reading.dialect for reading in plan.other_magnitudes}
    assert named == {"sglang", "original", "aiter"}
    raw = published("qwen3-8b-yarn")
    raw["rope_scaling"]["attention_factor"] = 1.0
    dropped = {r.dialect for r in make_plan(raw, 262144).other_magnitudes}
    assert dropped == {"sglang", "original", "TGI", "mlx-lm", "Megatron", "aiter"}
    assert make_plan(published("qwen3-8b"), 131072).other_magnitudes == []


def test_usual_mistakes(published: Published) -> None:
    raw = published("qwen3-8b-yarn")
    del raw["rope_scaling"]["original_max_position_embeddings"]
    raw["max_position_embeddings"] = 131072
    plan = make_plan(raw, 131072)
    assert any("counts as L, and the factor is applied on top" in w for w in plan.warnings)
    same = make_plan(published("qwen2.5-7b-instruct-yarn"), 65536)
    assert any("their ratio for the factor" in warning for warning in same.warnings)
    long = make_plan(published("mistral-7b-v0.3"), 1_000_000)
    assert any("Measure the quality" in warning for warning in long.warnings)
    assert not any("Measure" in w for w in make_plan(published("qwen3-8b"), 131072).warnings)


def test_short_requests(published: Published) -> None:
    plan = make_plan(published("qwen3-8b"), 131072)
    assert "40 of 64 pairs turn slower" in plan.short_requests[0]
    assert "multiplied by 1.296" in plan.short_requests[0]
    assert make_plan(published("qwen3-8b"), 4096).short_requests == []


def test_a_length_that_a_config_promises_elsewhere(published: Published) -> None:
    plan = make_plan(published("command-r-v01"), 131072)
    assert not plan.needed
    assert plan.lengths.maximum == 131072


@pytest.mark.parametrize("target", [0, -1, 1.5, "128k", None, True, 2**60])
def test_bad_targets(target: Any, published: Published) -> None:
    with pytest.raises(RopeScaleConfigError, match="target_length: expected"):
        make_plan(published("qwen3-8b"), target)


@pytest.mark.parametrize(
    "change",
    [
        {"max_position_embeddings": None},
        {"max_position_embeddings": "40960"},
        {"rope_scaling": [1]},
        {"rope_scaling": {"rope_type": "nope"}},
        {"text_config": 3},
    ],
)
def test_bad_configs(change: dict[str, Any], published: Published) -> None:
    with pytest.raises(RopeScaleError):
        make_plan({**published("qwen3-8b"), **change}, 131072)


def test_defaults_of_model_types_are_the_classes(published: Published) -> None:
    transformers = pytest.importorskip("transformers")
    ours = {"sliding_window_pattern", "rope_theta", "partial_rotary_factor", "rotary_pct",
            "rope_parameters", "global_head_dim"}  # fmt: skip
    for model_type, row in MODEL_TYPES.items():
        if model_type == "kimi_k2":
            continue
        config = transformers.AutoConfig.for_model(model_type).get_text_config()
        for key in set(row.defaults) - ours:
            if model_type == "gemma4_text" and key == "head_dim":
                continue
            assert getattr(config, key) == row.defaults[key], (model_type, key)
