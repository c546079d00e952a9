"""Plans: the factor's origin, rules that cannot go on, what to look out for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleError, RopeScaleUnsupportedError
from ropescale_kernels.planner.plan import make_plan

Published = Callable[[str], dict[str, Any]]


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


def test_what_a_model_card_serves_beyond_its_training_is_said(published: Published) -> None:
    said = (
        "The model was trained on 32,768 tokens (the model card of qwen3). Its model card serves "
        "40,960 without scaling; beyond, the factor counts from 32,768."
    )
    for target, warned in ((32768, False), (32769, True), (40960, True), (40961, False)):
        plan = make_plan(published("qwen3-8b"), target)
        assert (said in plan.warnings) == warned
        assert plan.needed == (target > 40960)
    assert said not in make_plan(published("qwen3-8b-yarn"), 40960).warnings


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
        ("phi-4", "Its class reads 'yarn' as 'longrope'"),
    ],
)
def test_rules_that_cannot_be_carried_further(name: str, reason: str, published: Published) -> None:
    with pytest.raises(RopeScaleUnsupportedError, match=r"^(rope|model)_type: ") as error:
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
    # 1.2079 was the formula's at factor 8: at 16 it would be wrong. Engines that merge the new keys
    # into the old would keep it if the key were left out.
    assert rope["full_attention"]["attention_factor"] == pytest.approx(1.2772588722)
    assert plan.planned["attention_factor"] == pytest.approx(1.2772588722)
    raw = published("qwen3-8b-yarn")
    raw["rope_scaling"]["attention_factor"] = 1.0
    kept = make_plan(raw, 262144)
    assert kept.planned["attention_factor"] == 1.0
    assert any("attention_factor stays 1.0" in warning for warning in kept.warnings)


def test_other_magnitudes_are_named(published: Published) -> None:
    plan = make_plan(published("deepseek-r1-0528-qwen3-8b"), 262144)
    named = {reading.dialect for reading in plan.other_magnitudes}
    assert named == {"sglang", "original", "aiter"}
    raw = published("qwen3-8b-yarn")
    raw["rope_scaling"]["attention_factor"] = 1.0
    dropped = {r.dialect for r in make_plan(raw, 262144).other_magnitudes}
    older = "vLLM, older releases"
    assert dropped == {"sglang", "original", "TGI", "mlx-lm", "Megatron", "aiter", older}
    assert make_plan(published("qwen3-8b"), 131072).other_magnitudes == []


def test_usual_mistakes(published: Published) -> None:
    raw = published("qwen3-8b-yarn")
    raw["rope_scaling"] |= {"factor": 3.2, "original_max_position_embeddings": 40960}
    wrong = make_plan(raw, 131072)
    assert any("which was trained on 32,768" in warning for warning in wrong.warnings)
    raw = published("qwen3-8b-yarn")
    raw["rope_scaling"] |= {"factor": 8.0, "attention_factor": 1.138629436111989}
    stale = make_plan(raw, 131072)
    assert any("left over from another factor" in warning for warning in stale.warnings)
    same = make_plan(published("qwen2.5-7b-instruct-yarn"), 65536)
    assert any("their ratio for the factor" in warning for warning in same.warnings)
    long = make_plan(published("mistral-7b-v0.3"), 1_000_000)
    assert any("Measure the quality" in warning for warning in long.warnings)
    assert not any("Measure" in w for w in make_plan(published("qwen3-8b"), 131072).warnings)


def test_a_missing_length_is_refused_until_it_is_given(published: Published) -> None:
    # max_position_embeddings would count as L, and raising it would move the ramp.
    raw = published("qwen3-8b-yarn")
    rope = raw["rope_scaling"]
    rope["original_max_position_embedding"] = rope.pop("original_max_position_embeddings")
    for target in (4096, 131072):
        with pytest.raises(
            RopeScaleConfigError, match=r"original_max_position_embeddings: .*no su"
        ):
            make_plan(raw, target)
    for target, factor in ((4096, 4.0), (131072, 4.0), (262144, 8.0)):
        plan = make_plan(raw, target, original_length=32768)
        assert plan.needed
        assert "does not name the length" in plan.verdict
        assert plan.planned["original_max_position_embeddings"] == 32768
        assert plan.planned["factor"] == factor
        assert plan.changes["max_position_embeddings"] == 32768 * factor


def test_given_lengths_that_cannot_be(published: Published) -> None:
    with pytest.raises(RopeScaleConfigError, match=r"original_length: expected 4096, .*got 131072"):
        make_plan(published("gpt-oss-20b"), 262144, original_length=131072)
    with pytest.raises(RopeScaleConfigError, match=r"original_length: .*linear"):
        make_plan(published("gemma-3-4b-it"), 262144, original_length=32768)
    # Trained on more than the config says: only the maximum has to be raised.
    plan = make_plan(published("qwen3-8b"), 131072, original_length=262144)
    assert not plan.needed
    assert plan.changes == {"max_position_embeddings": 262144}
    assert "trained on 262,144" in plan.verdict
    # Trained on less than it says: scaling is needed within its maximum.
    short = make_plan(published("mistral-7b-v0.3"), 32768, original_length=8192)
    assert short.planned["factor"] == 4.0


def test_a_top_level_length_counts(published: Published) -> None:
    raw = {**published("mistral-7b-v0.3"), "original_max_position_embeddings": 8192}
    plan = make_plan(raw, 65536)
    assert plan.planned["original_max_position_embeddings"] == 8192
    assert plan.planned["factor"] == 8.0


def test_a_top_level_length_beside_nested_parameters_names_nothing(published: Published) -> None:
    raw = published("olmo-3.1-32b-instruct-v5")
    full = raw["rope_parameters"]["full_attention"]
    inside = make_plan({**raw, "original_max_position_embeddings": 4096}, 131072)
    assert inside.planned["original_max_position_embeddings"] == 8192
    assert any("original_max_position_embeddings: expected a key" in w for w in inside.warnings)
    del full["original_max_position_embeddings"]
    beside = {**raw, "original_max_position_embeddings": 8192}
    message = "original_max_position_embeddings: expected a number beside rope_type 'yarn', got no"
    for config in (raw, beside):
        with pytest.raises(RopeScaleConfigError, match=message):
            make_plan(config, 131072)
        plan = make_plan(config, 131072, original_length=4096)
        assert plan.planned["original_max_position_embeddings"] == 4096
    raw["rope_parameters"]["full_attention"] = {"rope_type": "default", "rope_theta": 5e5}
    plain = make_plan(beside, 131072)
    assert plain.planned["original_max_position_embeddings"] == 65536
    # The control: flat parameters do read the key at the top level.
    flat = {**published("mistral-7b-v0.3"), "original_max_position_embeddings": 8192}
    assert make_plan(flat, 65536).planned["original_max_position_embeddings"] == 8192


def test_scaling_that_the_model_came_with_is_not_to_be_left_out(published: Published) -> None:
    trained = make_plan(published("gpt-oss-20b"), 65536).short_requests
    assert "trained with its scaling wants it at every length" in trained[1]
    assert make_plan(published("gemma-3-4b-it"), 65536).short_requests == []
    # DeepSeek's logits are multiplied through the softmax scale.
    deepseek = make_plan(published("deepseek-v3"), 65536).short_requests
    assert "multiplied by 1.874" in deepseek[0]


def test_further_than_a_model_was_made_for(published: Published) -> None:
    for name in ("gpt-oss-20b", "deepseek-v3"):
        plan = make_plan(published(name), 1_000_000)
        assert any("Measure the quality" in warning for warning in plan.warnings), name


def test_short_requests(published: Published) -> None:
    plan = make_plan(published("qwen3-8b"), 131072)
    assert "40 of 64 pairs turn slower" in plan.short_requests[0]
    assert "multiplied by 1.296" in plan.short_requests[0]
    assert make_plan(published("qwen3-8b"), 4096).short_requests == []


def test_a_length_that_a_config_promises_elsewhere(published: Published) -> None:
    plan = make_plan(published("command-r-v01"), 131072)
    assert not plan.needed
    assert plan.lengths.maximum == 131072
    assert plan.changes == {}


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


def test_a_linear_config_that_says_its_longest_length(published: Published) -> None:
    raw = {**published("mistral-7b-v0.3"), "model_type": "llama", "max_position_embeddings": 4096,
           "rope_scaling": {"type": "linear", "factor": 4.0}}  # fmt: skip
    enough = make_plan({**raw, "max_sequence_length": 16384}, 16384)
    assert not enough.needed
    assert enough.changes == {}
    assert enough.planned["factor"] == 4.0
    # Without it, nobody can tell: that is said.
    unknown = make_plan(raw, 16384)
    assert unknown.planned["factor"] == 16.0
    assert any("it serves 16,384 tokens with the factor that it has" in w for w in unknown.warnings)


def test_another_name_of_the_longest_length_is_raised_too(published: Published) -> None:
    raw = {**published("mistral-7b-v0.3"), "max_position_embeddings": 8192,
           "model_max_length": 131072}  # fmt: skip
    plan = make_plan(raw, 262144)
    assert plan.config["model_max_length"] == plan.transformers_5["model_max_length"] == 262144
    assert '"model_max_length": 262144' in plan.commands["vllm"]


@pytest.mark.parametrize(
    ("model_type", "window"),
    [("cohere2", "sliding_window"), ("exaone4", "sliding_window"), ("afmoe", "sliding_window"),
     ("llama4_text", "attention_chunk_size")],
)  # fmt: skip
def test_scaling_of_windows_alone_is_refused(
    model_type: str, window: str, published: Published
) -> None:
    raw = {**published("mistral-7b-v0.3"), "model_type": model_type, "num_hidden_layers": 8}
    with pytest.raises(
        RopeScaleUnsupportedError, match=r"model_type: .*see 4,096 tokens at most: no sc"
    ):
        make_plan({**raw, window: 4096}, 1_000_000)
    # Where a model has no window, every layer rotates.
    if model_type == "exaone4":
        assert make_plan({**raw, window: None}, 1_000_000).needed


def test_more_of_a_scaling_that_is_there(published: Published) -> None:
    plan = make_plan(published("deepseek-v3"), 262144)
    assert plan.verdict == (
        "More scaling is needed: YaRN with factor 40 reaches 163,840 tokens; 262,144 are 64 times "
        "the 4,096 that it counts from."
    )


def test_qwq_counts_from_its_card(published: Published) -> None:
    raw = {**published("qwen2.5-7b-instruct"), "max_position_embeddings": 40960}
    assert make_plan(raw, 131072).planned["factor"] == 4.0


def test_what_engines_make_of_it_otherwise_is_told(published: Published) -> None:
    vision = make_plan(published("qwen2.5-vl-7b-instruct"), 131072)
    assert any("vLLM 0.32 computes other frequencies" in w for w in vision.warnings)
    assert any("Positions of images" in w for w in vision.warnings)
    kimi = make_plan(published("kimi-k2-instruct"), 262144)
    assert any("llama.cpp has no flag" in w and "0.70627" in w for w in kimi.warnings)
    plain = make_plan(published("qwen3-8b"), 131072)
    assert not any("frequencies" in w or "llama.cpp" in w for w in plain.warnings)


def test_what_nobody_says_is_told(published: Published) -> None:
    within = make_plan(published("mistral-7b-v0.3"), 16384)
    assert any("does not say what the model was trained on" in w for w in within.warnings)
    raw = {**published("qwen2.5-7b-instruct"), "dual_chunk_attention_config": {"chunk_size": 8}}
    assert any("dual_chunk_attention_config" in w for w in make_plan(raw, 16384).warnings)


def test_a_length_that_no_factor_reaches_exactly(published: Published) -> None:
    raw = {**published("qwen3-8b"), "max_position_embeddings": 202752, "model_type": "glm4_moe"}
    plan = make_plan(raw, 462591)
    assert not any("expected factor *" in w for w in make_plan(plan.config, 462591).warnings)


def test_a_window_is_told_of_only_where_no_layer_sees_more(published: Published) -> None:
    def said(raw: dict[str, Any]) -> bool:
        return any("No layer sees beyond" in w for w in make_plan(raw, 8192).warnings)

    raw = published("mistral-7b-v0.3")
    assert said({**raw, "sliding_window": 4096})
    with pytest.raises(RopeScaleUnsupportedError, match="see 4,096 tokens at most: no scaling"):
        make_plan({**raw, "sliding_window": 4096}, 65536)
    assert not said({**raw, "sliding_window": 8192})
    assert not said(published("gemma-3-4b-it"))


def test_a_shorter_promise_is_raised(published: Published) -> None:
    raw = {**published("mistral-7b-v0.3"), "model_max_length": 4096}
    longer = make_plan(raw, 65536)
    assert longer.planned["factor"] == 2.0
    assert longer.config["model_max_length"] == 65536
    # Engines that go by that key stop there.
    within = make_plan(raw, 16384)
    assert not within.needed
    assert within.changes == {"model_max_length": 16384}
    assert "stop at model_max_length 4,096, which has to be raised" in within.verdict


def test_lengths_that_only_a_card_or_another_key_tells(published: Published) -> None:
    flat = published("qwen2.5-vl-7b-instruct")
    nested = {"model_type": "qwen2_5_vl", "text_config": {**flat, "model_type": "qwen2_5_vl_text"}}
    assert make_plan(nested, 131072).planned["factor"] == 4.0
    raw = {**published("qwen2.5-7b-instruct"), "max_position_embeddings": 1_010_000,
           "dual_chunk_attention_config": {"original_max_position_embeddings": 2**18}}  # fmt: skip
    plan = make_plan(raw, 2**21)
    assert (plan.lengths.original, plan.planned["factor"]) == (2**18, 8.0)


def test_the_longest_length_is_the_factor_times_the_original(published: Published) -> None:
    raw = {**published("mistral-7b-v0.3"), "max_position_embeddings": 32768}
    plan = make_plan(raw, 16384, original_length=8192)
    assert plan.planned["factor"] == 2.0
    assert plan.config["max_position_embeddings"] == 16384


def test_an_unknown_model_type_is_planned_by_its_keys() -> None:
    raw = {"model_type": "gemma3_text", "hidden_size": 2560, "num_attention_heads": 8,
           "num_key_value_heads": 4, "num_hidden_layers": 12, "head_dim": 256,
           "rope_theta": 5e5, "rope_local_base_freq": 2e4, "max_position_embeddings": 32768,
           "sliding_window": 1024, "sliding_window_pattern": 6}  # fmt: skip
    known, unknown = (make_plan({**raw, "model_type": x}, 131072) for x in ("gemma3_text", "zzz"))
    assert known.assumed == ""
    assert "rope_local_base_freq as in gemma3_text" in unknown.assumed
    assert unknown.warnings[0] == unknown.assumed
    assert (unknown.planned, unknown.changes, unknown.commands, unknown.kv_cache) == (
        known.planned, known.changes, known.commands, known.kv_cache,
    )  # fmt: skip
    assert unknown.layer_type == "full_attention"
    plain = make_plan({**raw, "model_type": "zzz", "rope_local_base_freq": None}, 131072)
    assert (plain.layer_type, "as in gemma3_text" in plain.assumed) == (None, False)
