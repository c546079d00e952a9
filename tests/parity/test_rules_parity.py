"""Every rule that Transformers has, over many parameters: the same bits in the same process."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.configs import quiet

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleWarning
from ropescale_kernels.scaling import RopeScaling

DIMS = (64, 96, 128, 256)
THETAS = (1e4, 5e5, 1e6, 123456.789)
FACTORS = (1.0, 1.7, 4.0, 40.0)
LENGTH = 4096


def _raw(dim: int, theta: float, rope: dict[str, Any], **top: Any) -> dict[str, Any]:
    sizes = {"head_dim": dim, "hidden_size": dim * 4, "num_attention_heads": 4}
    maximum = {"max_position_embeddings": LENGTH}
    return {"model_type": "llama", **sizes, **maximum, "rope_theta": theta, **top,
            "rope_scaling": rope}  # fmt: skip


def _rope(rule: str, dim: int, factor: float) -> dict[str, Any]:
    more: dict[str, dict[str, Any]] = {
        "yarn": {"original_max_position_embeddings": 1024},
        "llama3": {
            "original_max_position_embeddings": 1024,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        },
        "longrope": {
            "original_max_position_embeddings": 1024,
            "short_factor": [1.0 + 0.01 * j for j in range(dim // 2)],
            "long_factor": [1.0 + 0.7 * j for j in range(dim // 2)],
        },
        "proportional": {"partial_rotary_factor": 0.3},
    }
    return {"rope_type": rule, "factor": factor, **more.get(rule, {})}


@pytest.mark.parametrize(
    "rule", ["default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional"]
)
def test_rule(rule: str, hf: SimpleNamespace) -> None:
    for dim, theta, factor in itertools.product(DIMS, THETAS, FACTORS):
        raw = _raw(dim, theta, _rope(rule, dim, factor) if rule != "default" else {})
        want, attention_factor = hf.rope_of(hf.config_of(raw))
        scaling = quiet(raw)
        assert scaling.rope_type == rule
        assert torch.equal(scaling.inv_freq, want), (dim, theta, factor)
        assert scaling.attention_factor == attention_factor


@pytest.mark.parametrize(
    "more",
    [
        {"truncate": False},
        {"beta_fast": 16, "beta_slow": 16},
        {"beta_fast": 64.5, "beta_slow": 0.25, "truncate": False},
        {"attention_factor": 0.75},
        {"attention_factor": 1},
        {"mscale": 0.707, "mscale_all_dim": 1.2},
        {"mscale": 0.707},
        {"mscale": 0.707, "mscale_all_dim": 0.5, "attention_factor": 1.5},
        {"beta_fast": 0, "beta_slow": 0},
        {"original_max_position_embeddings": 3},
        {"original_max_position_embeddings": 2**40},
        {"factor": None, "original_max_position_embeddings": 1000},
    ],
)
def test_yarn_options(more: dict[str, Any], hf: SimpleNamespace) -> None:
    for dim, theta in itertools.product(DIMS, THETAS):
        raw = _raw(dim, theta, {**_rope("yarn", dim, 4.0), **more})
        want, attention_factor = hf.rope_of(hf.config_of(raw))
        scaling = quiet(raw)
        assert torch.equal(scaling.inv_freq, want), (dim, theta)
        assert scaling.attention_factor == attention_factor


@pytest.mark.parametrize("rule", ["dynamic", "longrope"])
@pytest.mark.parametrize("seq_len", [None, 1, 1024, 1025, LENGTH, LENGTH + 1, 100_003])
def test_rules_that_follow_the_length(rule: str, seq_len: int | None, hf: SimpleNamespace) -> None:
    for theta, factor in itertools.product(THETAS, FACTORS):
        raw = _raw(128, theta, _rope(rule, 128, factor))
        want, _ = hf.rope_of(hf.config_of(raw), seq_len=seq_len)
        assert torch.equal(quiet(raw, seq_len=seq_len).inv_freq, want)
        if seq_len is not None:
            assert torch.equal(quiet(raw).at_seq_len(seq_len).inv_freq, want)


@pytest.mark.parametrize("rule", ["linear", "llama3", "dynamic"])
def test_odd_share_keeps_its_exponent(rule: str, hf: SimpleNamespace) -> None:
    raw = _raw(64, 1e4, _rope(rule, 64, 4.0), partial_rotary_factor=0.3)
    want, _ = hf.rope_of(hf.config_of(raw))
    scaling = quiet(raw)
    assert scaling.rotary_dim == 20
    assert torch.equal(scaling.inv_freq, want)
    assert torch.equal(quiet(raw, seq_len=9).at_seq_len(99).inv_freq, want)


def test_odd_share_of_yarn_is_refused() -> None:
    raw = _raw(64, 1e4, _rope("yarn", 64, 4.0), partial_rotary_factor=0.3)
    with pytest.raises(RopeScaleConfigError, match=r"partial_rotary_factor: .*0\.3"):
        quiet(raw)


@pytest.mark.parametrize("layer_type", ["full_attention", "sliding_attention"])
def test_nested_truncate_is_read_beside_the_layers(layer_type: str, hf: SimpleNamespace) -> None:
    nested = {
        "full_attention": {**_rope("yarn", 128, 4.0), "rope_theta": 1e6, "truncate": False},
        "sliding_attention": {**_rope("yarn", 128, 2.0), "rope_theta": 1e4},
    }
    layers = {"layer_types": ["full_attention", "sliding_attention"], "num_hidden_layers": 2}
    raw = {**_raw(128, 1e4, {}), **layers, "rope_scaling": None, "rope_parameters": nested}
    config = hf.config_of({**raw, "model_type": "qwen2"})
    want, _ = hf.rope_of(config, layer_type)
    if layer_type == "full_attention":
        with pytest.warns(RopeScaleWarning, match=r"truncate.*False"):
            RopeScaling.from_hf_config(raw, layer_type=layer_type)
    scaling = quiet(raw, layer_type=layer_type)
    assert torch.equal(scaling.inv_freq, want)
