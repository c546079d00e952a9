"""Sizes under other names than hidden_size and num_attention_heads, for resolver and planner."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleWarning
from ropescale_kernels.planner.kv_cache import KVCache, kv_cache
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config.model_config import ModelConfig
from ropescale_kernels.scaling.config.model_types.size_names import SIZE_NAMES

ROPE = {"rope_theta": 1e6, "max_position_embeddings": 4096}
# (keys, channels of a head, heads of keys and values, layers)
CONFIGS: dict[str, tuple[dict[str, Any], int, int, int]] = {
    "GPT-2": ({"n_embd": 1280, "n_head": 16, "n_layer": 3}, 80, 16, 3),
    "MPT": ({"d_model": 512, "n_heads": 8, "n_layers": 2}, 64, 8, 2),
    "DBRX": (
        {"d_model": 6144, "n_heads": 48, "n_layers": 40, "attn_config": {"kv_n_heads": 8}},
        128,
        8,
        40,
    ),
    "Falcon 7B": (
        {"hidden_size": 4544, "n_head": 71, "n_layer": 32, "multi_query": True},
        64,
        1,
        32,
    ),
    "Falcon 40B": (
        {"hidden_size": 8192, "n_head": 128, "n_head_kv": 8, "n_layer": 60},
        64,
        8,
        60,
    ),
    "T5": ({"d_model": 1024, "num_heads": 16, "num_layers": 24}, 64, 16, 24),
    "T5 with d_kv": ({"d_model": 1024, "num_heads": 16, "d_kv": 128, "num_layers": 2}, 128, 16, 2),
    "two names": (
        {"hidden_size": 512, "n_embd": 512, "n_head": 8, "num_heads": 8, "n_layer": 1},
        64,
        8,
        1,
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore::ropescale_kernels.errors.RopeScaleWarning")


@pytest.mark.parametrize("case", CONFIGS)
def test_sizes_are_read_under_their_other_names(case: str) -> None:
    keys, channels, heads, layers = CONFIGS[case]
    scaling = RopeScaling.from_hf_config(keys | ROPE)
    assert scaling == RopeScaling.default(rotary_dim=channels, rope_theta=1e6)
    cache = kv_cache(ModelConfig(keys | ROPE), 1000)
    assert isinstance(cache, KVCache)
    assert cache.bytes == 2 * layers * heads * channels * 2 * 1000


def test_the_warning_names_the_keys_that_were_read() -> None:
    with pytest.warns(RopeScaleWarning, match="n_embd 1280 // n_head 16 gives 80 rotary channels"):
        RopeScaling.from_hf_config(CONFIGS["GPT-2"][0] | ROPE)


@pytest.mark.parametrize("size", SIZE_NAMES)
def test_two_names_that_disagree_are_refused(size: str) -> None:
    sizes: dict[str, object] = {
        "hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 2, **ROPE
    }  # fmt: skip
    names = (size, *SIZE_NAMES[size])
    for one, other in itertools.pairwise(names):
        config = {key: value for key, value in sizes.items() if key != size} | {one: 2, other: 4}
        words = f"^{one} and {other}: expected one size, got 2 and 4$"
        with pytest.raises(RopeScaleConfigError, match=words):
            ModelConfig(config).length(size)
        if size != "num_hidden_layers":
            with pytest.raises(RopeScaleConfigError, match=words):
                RopeScaling.from_hf_config(config)
            # Channels that the config names need no other size.
            scaling = RopeScaling.from_hf_config(config | {"head_dim": 64})
            assert scaling.rotary_dim == 64


@pytest.mark.parametrize("size", SIZE_NAMES)
def test_a_missing_size_names_all_that_was_looked_for(size: str) -> None:
    for model_type in ({}, {"model_type": "of_a_stranger"}):
        with pytest.raises(RopeScaleConfigError, match=f"^{size}: expected") as got:
            ModelConfig({**ROPE, **model_type}).length(size)
        assert f"no such key, nor {', '.join(SIZE_NAMES[size])}" in str(got.value)
    with pytest.raises(RopeScaleConfigError, match=r"^hidden_size: .*nor n_embd, n_embed, d_model"):
        RopeScaling.from_hf_config({**ROPE, "n_head": 8})


def test_a_known_class_reads_its_own_names_alone() -> None:
    sizes = {"n_embd": 512, "n_head": 8}
    with pytest.raises(RopeScaleConfigError, match="A llama model has no key n_embd"):
        RopeScaling.from_hf_config({"model_type": "llama", **ROPE, **sizes})
    own = {"hidden_size": 1024, "num_attention_heads": 8}
    scaling = RopeScaling.from_hf_config({"model_type": "llama", **ROPE, **sizes, **own})
    assert scaling.rotary_dim == 128
