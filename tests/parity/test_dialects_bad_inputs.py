"""Bad and hostile configs in every dialect: refused, or named as ignored, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import resolve

import ropescale_kernels as rk
from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleError
from ropescale_kernels.scaling.config.dialects import DIALECTS
from ropescale_kernels.scaling.config.model_types.table import MODEL_TYPES
from tools.engine_cases import QWEN3, QWEN3_ROPE, row

NO_NUMBER = [float("nan"), float("inf"), "4", True, [4], 10**400]
BAD: dict[str, list[Any]] = {
    "factor": [*NO_NUMBER, 0, -2, 0.5],
    "original_max_position_embeddings": [*NO_NUMBER, 0, -1, 4096.5, 2**53 + 2],
    "beta_fast": [*NO_NUMBER, -1, 0.5],
    "beta_slow": [*NO_NUMBER, -1, 33],
    "attention_factor": [*NO_NUMBER, 0, -1],
    "attn_factor": [*NO_NUMBER, 0, -1],
    "mscale": [*NO_NUMBER, -1],
    "mscale_all_dim": [*NO_NUMBER, -1],
    "truncate": ["yes", 1, 0.0],
    "rope_type": ["YARN", 3, ""],
    "type": ["linear", 7],
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("key", BAD)
def test_bad_values_are_refused_or_named_as_ignored(key: str, dialect: str) -> None:
    for value in BAD[key]:
        raw = row(
            QWEN3, {**QWEN3_ROPE, "mscale": 1.0, "mscale_all_dim": 1.0}, 131072, **{key: value}
        )
        try:
            _, messages = resolve(raw, dialect=dialect)
            starts: tuple[str, ...] = (f"rope_scaling['{key}']",)
        except RopeScaleConfigError as error:
            messages = [str(error)]
            # The two betas, and the two names of the rule, are told of together.
            starts = (key, {"beta_slow": "beta_fast", "type": "rope_type"}.get(key, key))
        assert any(message.startswith(starts) for message in messages), (value, messages)


TOP_BAD: dict[str, list[Any]] = {
    "rope_theta": [*NO_NUMBER, 0, 1, -1e4, 1e308],
    "head_dim": [*NO_NUMBER, 0, -64, 2**31, 63.5],
    "max_position_embeddings": [*NO_NUMBER, 0, -1, 4096.5],
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("key", TOP_BAD)
def test_bad_top_level_values_are_refused(key: str, dialect: str) -> None:
    for value in TOP_BAD[key]:
        raw = {**row(QWEN3, QWEN3_ROPE, 131072), key: value}
        with pytest.raises(RopeScaleConfigError, match=key):
            resolve(raw, dialect=dialect)


# Plain draws: building arbitrary text takes hypothesis seconds in a fresh checkout.
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "4", "yarn", "linear", "\u00e9", "nan"]),
)
JSON = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=3),
    st.dictionaries(st.sampled_from(["rope_type", "factor", "a"]), PLAIN, max_size=3),
)
KEYS = sorted(
    {"rope_type", "type", "rope_theta", "mrope_section", "mrope_interleaved", "short_factor",
     "long_factor", "low_freq_factor", "high_freq_factor", "partial_rotary_factor", "alpha",
     "max_trained_positions", "short_mscale", "long_mscale", "extrapolation_factor",
     "apply_yarn_scaling", "full_attention", *BAD}
)  # fmt: skip
TYPES = st.sampled_from(["yarn", "default", "linear", "dynamic", "llama3", "longrope", "su", "ntk"])


@settings(deadline=None, max_examples=300)
@given(
    rope=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6),
    rope_type=TYPES,
    top=st.dictionaries(
        st.sampled_from(["rope_parameters", "text_config", "model_type", "rope_theta", "head_dim",
                         "max_position_embeddings", "partial_rotary_factor", "rope_ratio",
                         "original_max_position_embeddings", "layer_rope_theta", "layer_types",
                         "per_layer_config"]), JSON, max_size=3,
    ),
    model_type=st.sampled_from(sorted(MODEL_TYPES)),
    dialect=st.sampled_from(sorted(DIALECTS)),
    seq_len=st.none() | st.integers(-1, 2**60),
)  # fmt: skip
def test_no_config_fails_but_on_purpose(
    rope: dict[str, Any], rope_type: str, top: dict[str, Any], model_type: str, dialect: str,
    seq_len: int | None,
) -> None:  # fmt: skip
    sane = {**QWEN3_ROPE, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    raw = {**QWEN3, "max_position_embeddings": 131072, "model_type": model_type, **top}
    raw["rope_scaling"] = {**sane, "rope_type": rope_type, **rope}
    try:
        scaling, _ = resolve(raw, dialect=dialect, seq_len=seq_len)
    except RopeScaleError:
        return
    assert torch.isfinite(scaling.inv_freq).all()
    assert 0 < scaling.attention_factor < float("inf")


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"dynamic": "trained"}, r"dialect: dynamic: expected one of .*'length'.*, got trained"),
        ({"softmax": "sometimes"}, r"dialect: softmax: .*got sometimes"),
    ],
)
def test_a_dialect_made_by_hand_has_the_terms_that_are_known(
    terms: dict[str, Any], words: str
) -> None:
    with pytest.raises(rk.RopeScaleValueError, match=words):
        dataclasses.replace(DIALECTS["hf"], **terms)
    with pytest.raises(rk.RopeScaleValueError, match=r"dialect: mscale: .*got truthy"):
        dataclasses.replace(DIALECTS["hf"].yarn, mscale="truthy")  # type: ignore[arg-type]
