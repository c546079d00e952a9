"""What plans write and print: keys that read back as meant, and commands that engines document."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.configs import quiet

from ropescale_kernels.errors import RopeScaleUnsupportedError
from ropescale_kernels.planner.plan import ContextPlan, make_plan
from ropescale_kernels.scaling import RopeScaling

Published = Callable[[str], dict[str, Any]]
FIXTURES = Path(__file__).parent.parent / "fixtures"
NAMES = sorted(path.stem for path in (FIXTURES / "configs").glob("*.json"))
FLAGS = json.loads((FIXTURES / "engine_flags.json").read_text())
TARGETS = (4096, 40961, 131072, 262144, 1_000_000)


def plans(published: Published) -> list[tuple[str, int, ContextPlan]]:
    made = []
    for name in NAMES:
        for target in TARGETS:
            try:
                made.append((name, target, make_plan(published(name), target)))
            except RopeScaleUnsupportedError:
                assert name.startswith(("llama-3", "phi-4", "ministral-8b", "starcoder2"))
    return made


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

    for name in ("qwen3-8b", "deepseek-v3", "gpt-oss-20b", "mistral-7b-v0.3", "gemma-3-4b-it",
                 "mixtral-8x7b"):  # fmt: skip
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
                    keys = json.loads(word)
                    nested = name == "qwen2.5-vl-7b-instruct"
                    assert ("text_config" in keys) == (nested or "text_config" in published(name))
                    told = json.loads(json.dumps(plan.transformers_5))
                    told.get("text_config", told).pop("rope_scaling", None)
                    assert keys == ({"text_config": told} if nested else told)


def test_keys_put_into_a_file_of_two_names(published: Published) -> None:
    raw = published("qwen3-8b-yarn")
    nested = {"model_type": "qwen3_vl", "text_config": {**raw, "model_type": "qwen3_vl_text"}}
    for config in (raw, nested):
        plan = make_plan(config, 262144)
        new = plan.transformers_5
        inner = new.get("text_config", new)
        assert isinstance(inner, dict)
        merged = (
            {**config, "text_config": {**nested["text_config"], **inner}}
            if config is nested
            else {**config, **new}
        )
        assert quiet(merged) == quiet(plan.config)


def test_llama_cpp_gets_what_is_not_its_default(published: Published) -> None:
    plain = make_plan(published("qwen3-8b"), 131072).commands["llama.cpp"]
    assert plain.endswith("--rope-scaling yarn --rope-scale 4.0 --yarn-orig-ctx 32768")
    # Kimi's betas are both 1. Its magnitude is none of the flags: llama.cpp overwrites that one.
    kimi = make_plan(published("kimi-k2-instruct"), 262144).commands["llama.cpp"]
    assert "attn-factor" not in kimi
    assert kimi.endswith("--yarn-beta-fast 1 --yarn-beta-slow 1")
    linear = make_plan(published("gemma-3-4b-it"), 262144).commands["llama.cpp"]
    assert linear.endswith("--rope-scaling linear --rope-scale 16.0")


@pytest.mark.parametrize(
    "name",
    ["glm-4.5", "glm-4-9b-chat-hf", "gpt-neox-20b", "stablelm-2-1_6b", "phi-2", "minimax-m2",
     "qwen3-next-80b-a3b-instruct", "mixtral-8x7b"],
)  # fmt: skip
def test_engines_that_replace_the_parameters_rotate_the_same(
    name: str, published: Published
) -> None:
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    plan = make_plan(published(name), 1_048_576)
    raw = published(name)
    config = transformers.AutoConfig.for_model(raw.pop("model_type"), **raw)
    # What vLLM and SGLang do with an override: set it on the loaded config.
    (override,) = (json.loads(w) for w in shlex.split(plan.commands["vllm"]) if w.startswith("{"))
    config.update(override)
    inv_freq, factor = ROPE_INIT_FUNCTIONS["yarn"](config, None)
    scaling = quiet(plan.config)
    assert torch.equal(inv_freq, scaling.inv_freq)
    assert factor == scaling.attention_factor


def test_multimodal_override_reaches_the_text_model(published: Published) -> None:
    transformers = pytest.importorskip("transformers")
    raw = published("qwen2.5-vl-7b-instruct")
    plan = make_plan(raw, 131072)
    assert plan.planned["factor"] == 4.0
    config = transformers.AutoConfig.for_model(raw.pop("model_type"), **raw)
    (override,) = (json.loads(w) for w in shlex.split(plan.commands["vllm"]) if w.startswith("{"))
    config.text_config.update(override["text_config"])
    text = config.get_text_config()
    assert text.rope_parameters["factor"] == 4.0
    assert text.rope_parameters["mrope_section"] == [16, 24, 24]
    assert text.max_position_embeddings == 131072


@pytest.mark.parametrize(
    "raw",
    [
        # The base inside the parameters, or from the class that has the parameters.
        {"model_type": "llama", "head_dim": 128, "max_position_embeddings": 4096,
         "rope_scaling": {"rope_type": "default", "rope_theta": 5e5}},
        {"model_type": "ministral3", "head_dim": 128, "max_position_embeddings": 262144},
        # Layer types under the old key.
        {"model_type": "zzz", "head_dim": 128, "max_position_embeddings": 131072, "rope_scaling": {
            "full_attention": {"rope_type": "yarn", "factor": 4, "rope_theta": 1e6,
                               "original_max_position_embeddings": 32768},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    ],
)  # fmt: skip
def test_nothing_else_moves(raw: dict[str, Any]) -> None:
    plan = make_plan(raw, 1_048_576)
    layers = [plan.layer_type, "sliding_attention"] if plan.layer_type else [None]
    for layer_type in layers:
        before = quiet(raw, layer_type=layer_type)
        after = quiet(plan.config, layer_type=layer_type)
        assert after.rope_theta == before.rope_theta
        assert after.rotary_dim == before.rotary_dim
    if plan.layer_type:
        assert quiet(plan.config, layer_type="sliding_attention").rope_type == "default"


def test_a_share_that_only_yarn_reads_is_refused() -> None:
    raw = {"model_type": "llama", "head_dim": 128, "max_position_embeddings": 4096,
           "partial_rotary_factor": 0.5, "rope_theta": 1e4}  # fmt: skip
    with pytest.raises(RopeScaleUnsupportedError, match="config: expected rotary_dim 128, got"):
        make_plan(raw, 16384)


def test_keys_for_a_file_that_has_the_old_ones(published: Published) -> None:
    for name in ("qwen3-8b-yarn", "deepseek-v3", "yarn-llama-2-7b-64k"):
        raw = published(name)
        plan = make_plan(raw, 524288)
        assert plan.transformers_5["rope_scaling"] is None
        merged = quiet({**raw, **plan.transformers_5})
        assert (merged.factor, merged.attention_factor) == (
            plan.planned["factor"], plan.planned["attention_factor"],
        )  # fmt: skip
        # A model's own code may read the rule under the name it had.
        old, new = raw["rope_scaling"], plan.config["rope_scaling"]
        assert isinstance(new, dict)
        assert new.get("type") == old.get("type")


def test_a_head_size_that_transformers_cannot_do_without(published: Published) -> None:
    plan = make_plan(published("mixtral-8x7b"), 131072)
    assert plan.changes["head_dim"] == 128
    with pytest.warns(UserWarning, match="head_dim: expected 128, without which Transformers"):
        RopeScaling.from_hf_config(
            {
                **published("mixtral-8x7b"),
                "rope_scaling": plan.config["rope_scaling"],
                "max_position_embeddings": 131072,
            }
        )
