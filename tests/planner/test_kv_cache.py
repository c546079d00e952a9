"""Memory of a key-value cache, and the classes' defaults that it counts with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ropescale_kernels.errors import RopeScaleConfigError
from ropescale_kernels.planner.kv_cache import KVCache, kv_cache, worded_bytes
from ropescale_kernels.planner.layers import layer_kinds
from ropescale_kernels.planner.plan import make_plan
from ropescale_kernels.scaling.config.model_config import ModelConfig
from ropescale_kernels.scaling.config.model_types.layer_keys import CHUNKED, FULL, LINEAR, SLIDING
from ropescale_kernels.scaling.config.model_types.table import MODEL_TYPES

Published = Callable[[str], dict[str, Any]]


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
    cache = kv_cache(ModelConfig(published(name)), 131072)
    assert isinstance(cache, KVCache)
    assert cache.bytes == want
    assert cache.bytes_fp8 * 2 == want
    longer = kv_cache(ModelConfig(published(name)), 131073)
    assert isinstance(longer, KVCache)
    assert longer.bytes - cache.bytes == cache.bytes_per_token


def test_kv_cache_that_cannot_be_told(published: Published) -> None:
    raw = published("qwen3-8b")
    del raw["num_hidden_layers"]
    cache = kv_cache(ModelConfig(raw), 4096)
    assert cache == "num_hidden_layers: expected an integer in the config, got no such key"
    raw = {**published("qwen3-8b"), "num_hidden_layers": 2, "layer_types": ["full_attention", "?"]}
    assert str(kv_cache(ModelConfig(raw), 4096)).startswith("layer_types: expected some of [")


@pytest.mark.parametrize(
    "keys",
    [
        {"block_configs": [{}]},
        {"cross_attention_layers": [3]},
        {"per_layer_config": {"05": {"head_dim": 512}}},
        {"hybrid_layer_pattern": [0, 1]},
        {"layer_types": ["full_attention"]},
        {"attn_type_list": "1111"},
        {"num_kv_shared_layers": 37},
        {"num_kv_shared_layers": 2**31},
        {"sliding_window": 9, "model_type": "new", "use_sliding_window": None},
        {"sliding_window": 0, "model_type": "mistral"},
    ],
)
def test_layers_that_are_not_known_are_not_counted(
    keys: dict[str, Any], published: Published
) -> None:
    raw = {**published("qwen3-8b"), **keys}
    key = next(iter(keys))
    assert str(kv_cache(ModelConfig(raw), 4096)).startswith(f"{key}: expected")
    # Nor do they stop a plan.
    assert make_plan(raw, 131072).kv_cache == kv_cache(ModelConfig(raw), 131072)


def test_an_indexer_keeps_keys_too() -> None:
    raw = {"model_type": "deepseek_v32", "num_hidden_layers": 61, "kv_lora_rank": 512,
           "index_head_dim": 128}  # fmt: skip
    cache = kv_cache(ModelConfig(raw), 4096)
    assert isinstance(cache, KVCache)
    assert cache.bytes == 61 * 4096 * (2 * (512 + 64) + 128 + 4)
    assert cache.bytes_fp8 == 61 * 4096 * (512 + 64 + 128 + 4)
    assert cache.latent


def test_bytes_in_words() -> None:
    words = [worded_bytes(count) for count in (512, 2**20, 3 * 2**30, 5 * 2**40)]
    assert words == ["0.50 KiB", "1.00 MiB", "3.00 GiB", "5.00 TiB"]


def test_elements_of_the_cache_are_those_of_the_whole_model(published: Published) -> None:
    for dtype, name in {
        "float8_e4m3fn": "float8_e4m3fn",
        "torch.float16": "float16",
        # Engines serve such a model in 16 bits.
        "float32": "bfloat16",
    }.items():
        raw = {**published("gemma-3-4b-it"), "torch_dtype": dtype}
        plain, other = (kv_cache(ModelConfig(c), 4096) for c in (published("gemma-3-4b-it"), raw))
        assert isinstance(plain, KVCache)
        assert isinstance(other, KVCache)
        assert other.dtype == name
        assert other.bytes == (plain.bytes_fp8 if "8" in name else plain.bytes)


def test_defaults_of_model_types_are_the_classes(published: Published) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.20")
    ours = {"sliding_window_pattern", "rope_theta", "partial_rotary_factor", "rotary_pct",
            "rope_parameters", "global_head_dim", "full_attention_interval",
            "attn_layer_indices", "position_embedding_type", "swa_head_dim",
            "swa_qk_rope_head_dim"}  # fmt: skip
    for model_type, row in MODEL_TYPES.items():
        if model_type == "kimi_k2":
            continue
        config = transformers.AutoConfig.for_model(model_type).get_text_config()
        for key in set(row.defaults) - ours:
            # Only the dict has a size that differs by layer.
            found = config.to_dict().get(key, ...)
            found = getattr(config, key) if found is ... else found
            assert found == row.defaults[key], (model_type, key)


def test_layers_are_the_classes() -> None:
    transformers = pytest.importorskip("transformers", minversion="5.20")
    sizes = {"hidden_size": 1280, "num_attention_heads": 8, "num_hidden_layers": 12}
    seen = set()
    for model_type in set(MODEL_TYPES) - {"kimi_k2", "llama4", "qwen2_vl", "qwen2_5_vl"}:
        row = MODEL_TYPES[model_type]
        if row.uncounted_layers:
            switch = dict([row.rotates_if] if row.rotates_if else [])
            with pytest.raises(RopeScaleConfigError, match=r"expected (the type of|parameters by)"):
                layer_kinds(ModelConfig({"model_type": model_type, **sizes, **switch}))
            continue
        plain = transformers.AutoConfig.for_model(model_type, **sizes)
        windows = (False, True) if hasattr(plain, "sliding_window") else (False,)
        for window in windows:
            raw = {"model_type": model_type, **sizes, **({"sliding_window": 100} if window else {}),
                   "position_embedding_type": "rope"}  # fmt: skip
            theirs = transformers.AutoConfig.for_model(**raw).get_text_config()
            if not hasattr(theirs, "layer_types") or theirs.layer_types is None:
                continue
            names = {"indexed_attention": FULL, "hybrid": FULL}
            want = [names.get(name, name) for name in theirs.layer_types]
            if theirs.to_dict().get("sliding_window", 0) is None:
                want = [FULL if name == SLIDING else name for name in want]
            text = ModelConfig(raw)
            found = layer_kinds(text)
            if SLIDING in found and not window:
                assert text.get("sliding_window") == theirs.sliding_window, model_type
            assert found == want, model_type
            seen |= set(found)
    assert seen == {FULL, SLIDING, CHUNKED, LINEAR}


@pytest.mark.parametrize(
    ("keys", "want"),
    [
        ({"model_type": "mistral", "sliding_window": 9}, "SSSSSS"),
        ({"model_type": "mistral", "sliding_window": None}, "SSSSSS"),
        ({"model_type": "qwen2", "sliding_window": 9, "use_sliding_window": True,
          "max_window_layers": 4}, "FFFFSS"),
        ({"model_type": "qwen2", "sliding_window": 9, "max_window_layers": 4}, "FFFFFF"),
        ({"model_type": "lfm2", "full_attn_idxs": [1, 4]}, "LFLLFL"),
        ({"model_type": "bamba", "attn_layer_indices": [5]}, "LLLLLF"),
        ({"model_type": "bailing_hybrid", "layer_group_size": 3}, "LLFLLF"),
        ({"model_type": "bamba", "layers_block_type": [*5 * ["mamba"], "attention"]},
         "LLLLLF"),
        ({"model_type": "exaone4", "sliding_window": 9, "sliding_window_pattern": "LLG"}, "SSFSSF"),
        ({"model_type": "new"}, "FFFFFF"),
        ({"model_type": "new", "attn_type_list": [0, 0, 1, 0, 0, 1]}, "LLFLLF"),
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 0}, "SSSSSS"),
        ({"model_type": "cohere2", "sliding_window": None}, "FFFFFF"),
        ({"model_type": "llama4_text", "no_rope_layers": [1, 0, 1, 0, 1, 0]}, "CFCFCF"),
        ({"model_type": "llama4_text", "no_rope_layers": []}, "CCCFCC"),
    ],
)  # fmt: skip
def test_keys_that_tell_layers_apart(keys: dict[str, Any], want: str) -> None:
    found = layer_kinds(ModelConfig({"num_hidden_layers": 6, **keys}))
    assert "".join(name[0].upper() for name in found) == want


def test_gemma_4_has_other_heads_where_everything_is_seen() -> None:
    raw = {"model_type": "gemma4_text", "num_hidden_layers": 6, "num_key_value_heads": 16,
           "num_global_key_value_heads": 4, "num_attention_heads": 32}  # fmt: skip
    cache = kv_cache(ModelConfig(raw), 4096)
    assert isinstance(cache, KVCache)
    assert cache.bytes == 2 * 2 * (5 * 16 * 256 * 512 + 4 * 512 * 4096)
    assert cache.bytes_per_token == 2 * 2 * 4 * 512


def test_layers_that_share_a_cache() -> None:
    raw = {"model_type": "gemma3n_text", "num_hidden_layers": 30}
    cache = kv_cache(ModelConfig(raw), 4096)
    assert isinstance(cache, KVCache)
    assert cache.layers["those of an earlier layer"] == 15
    assert cache.bytes == 2 * 2 * 2 * 256 * (12 * 512 + 3 * 4096)


def test_values_of_another_size(published: Published) -> None:
    raw = {**published("qwen3-8b"), "v_head_dim": 64}
    cache = kv_cache(ModelConfig(raw), 4096)
    assert isinstance(cache, KVCache)
    assert cache.bytes == 36 * 8 * (128 + 64) * 2 * 4096


def test_a_falcon_with_groups() -> None:
    raw = {"model_type": "falcon", "hidden_size": 8192, "num_attention_heads": 128,
           "num_hidden_layers": 60, "num_kv_heads": 8}  # fmt: skip
    many = kv_cache(ModelConfig({**raw, "new_decoder_architecture": True}), 4096)
    one = kv_cache(ModelConfig(raw), 4096)
    assert isinstance(many, KVCache)
    assert isinstance(one, KVCache)
    assert many.bytes == 8 * one.bytes == 60 * 4096 * 8 * 2 * 64 * 2


def test_a_latent_of_another_size() -> None:
    raw = {"model_type": "minicpm3", "num_hidden_layers": 62, "kv_lora_rank": 256}
    cache = kv_cache(ModelConfig(raw), 4096)
    assert isinstance(cache, KVCache)
    assert cache.bytes == 62 * 4096 * (256 + 32) * 2


@pytest.mark.parametrize(("tokens", "words"), [(512, "all tokens"), (513, "the last 512 tokens")])
def test_a_window_that_holds_everything(tokens: int, words: str) -> None:
    raw = {"model_type": "mistral", "hidden_size": 512, "num_attention_heads": 8,
           "num_hidden_layers": 2, "sliding_window": 512}  # fmt: skip
    cache = kv_cache(ModelConfig(raw), tokens)
    assert isinstance(cache, KVCache)
    assert cache.layers == {words: 2}
    assert cache.bytes == 2 * 512 * 8 * 64 * 2 * 2
