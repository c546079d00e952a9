"""Memory of a key-value cache, and the classes' defaults that it counts with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.context.kv_cache import KVCache, kv_cache, worded_bytes
from ropescale_kernels.context.text_config import TextConfig
from ropescale_kernels.scaling.model_types import MODEL_TYPES

Published = Callable[[str], dict[str, Any]]
FIXTURES = Path(__file__).parent.parent / "fixtures"
NAMES = sorted(path.stem for path in (FIXTURES / "configs").glob("*.json"))
FLAGS = json.loads((FIXTURES / "engine_flags.json").read_text())
TARGETS = (4096, 40961, 131072, 262144, 1_000_000)


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


def test_elements_of_the_cache_are_those_of_the_whole_model(published: Published) -> None:
    raw = {**published("gemma-3-4b-it"), "torch_dtype": "float32"}
    plain, wide = (kv_cache(TextConfig(c), 4096) for c in (published("gemma-3-4b-it"), raw))
    assert isinstance(plain, KVCache)
    assert isinstance(wide, KVCache)
    assert wide.bytes == 2 * plain.bytes


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
