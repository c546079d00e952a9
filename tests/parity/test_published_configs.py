"""Published configs resolve to the bits of the installed Transformers, and nothing is lost."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.configs import resolve

from ropescale_kernels.errors import RopeScaleWarning
from ropescale_kernels.scaling import RopeScaling

# Config name to what its one warning says; the others resolve without any.
WARNED = {
    "deepseek-r1-0528-qwen3-8b": ("attn_factor", "0.8782488562869419"),
    "qwen2.5-7b-instruct-yarn": ("131072.0", "32768"),
    "qwen3-8b-yarn": ("131072.0", "40960"),
    "yarn-llama-2-7b-64k": ("finetuned", "True"),
}


def test_bits_equal_transformers(published: SimpleNamespace, hf: SimpleNamespace) -> None:
    config = hf.config_of(published.raw)
    nested = [key for key, value in config.rope_parameters.items() if isinstance(value, dict)]
    sources = {"dict": published.raw, "path": published.path, "object": config}
    for layer_type in nested or [None]:
        want, attention_factor = hf.rope_of(config, layer_type)
        for kind, source in sources.items():
            scaling, messages = resolve(source, layer_type=layer_type)
            assert torch.equal(scaling.inv_freq, want), (kind, layer_type)
            assert scaling.attention_factor == attention_factor, (kind, layer_type)
            told = WARNED.get(published.name)
            assert len(messages) == (told is not None), messages
            assert told is None or all(number in messages[0] for number in told)


def test_config_is_not_changed(published: SimpleNamespace) -> None:
    raw = copy.deepcopy(published.raw)
    rope = (raw.get("text_config") or raw).get("rope_parameters") or {}
    nested = [key for key, value in rope.items() if isinstance(value, dict)]
    if published.name.startswith(("gemma-3", "olmo-3")):
        nested = ["full_attention"]
    resolve(raw, layer_type=nested[0] if nested else None)
    assert raw == published.raw


def test_enough_published_configs(configs: Path) -> None:
    assert len(list(configs.glob("*.json"))) >= 25


@pytest.mark.parametrize("seq_len", [None, 1, 4096, 4097, 131072])
def test_phi4_mini_follows_the_length(
    seq_len: int | None, configs: Path, hf: SimpleNamespace
) -> None:
    raw = json.loads((configs / "phi-4-mini-instruct.json").read_text())
    want, attention_factor = hf.rope_of(hf.config_of(raw), seq_len=seq_len)
    scaling, _ = resolve(raw, seq_len=seq_len)
    assert torch.equal(scaling.inv_freq, want)
    assert scaling.attention_factor == attention_factor
    built, _ = resolve(raw)
    assert torch.equal(built.at_seq_len(seq_len or 1).inv_freq, want)


@pytest.mark.parametrize(
    ("name", "section", "interleaved"),
    [("qwen2.5-vl-7b-instruct", [16, 24, 24], False), ("qwen3-vl-8b-instruct", [24, 20, 20], True)],
)
def test_mrope_sections_come_through(
    name: str, section: list[int], interleaved: bool, configs: Path
) -> None:
    scaling, _ = resolve(configs / f"{name}.json")
    assert scaling.mrope_section == section
    assert scaling.mrope_interleaved is interleaved


def test_warnings_point_at_the_caller() -> None:
    config = {"model_type": "nobody", "head_dim": 64}
    with pytest.warns(RopeScaleWarning, match="nobody") as caught:
        RopeScaling.from_hf_config(config)
    assert caught[0].filename == __file__
