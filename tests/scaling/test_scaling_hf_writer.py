"""`to_hf_config`: what is written is read back as the same scaling, by us and by Transformers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import quiet

from ropescale_kernels.errors import RopeScaleUnsupportedError, RopeScaleValueError
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config.dialects import DIALECTS
from tools.engine_cases import CASES

SHAPE: dict[str, Any] = {"rotary_dim": 64, "rope_theta": 5e5}
L: dict[str, Any] = {"factor": 4.0, "original_max_position_embeddings": 1024}
FACTORS: dict[str, Any] = {"short_factor": [1.5] * 32, "long_factor": [3.25] * 32}
SAME = {
    "default": RopeScaling.default(**SHAPE),
    "linear": RopeScaling.linear(**SHAPE, factor=2.5),
    "dynamic": RopeScaling.dynamic_ntk(**SHAPE, factor=2.0, max_position_embeddings=2048),
    "yarn": RopeScaling.yarn(**SHAPE, **L),
    "yarn, all": RopeScaling.yarn(
        **SHAPE, **L, beta_fast=16, beta_slow=2, attention_factor=1.5, mscale=0.5,
        mscale_all_dim=0.25, truncate=False,
    ),
    "llama3": RopeScaling.llama3(**SHAPE, **L, low_freq_factor=2, high_freq_factor=8),
    "longrope": RopeScaling.longrope(**SHAPE, **L, **FACTORS),
    "longrope, explicit": RopeScaling.longrope(**SHAPE, **L, **FACTORS, attention_factor=1.25),
    "proportional": RopeScaling.proportional(**SHAPE, partial_rotary_factor=0.25, factor=2.0),
    "mrope": RopeScaling.default(**SHAPE, mrope_section=[8, 12, 12], mrope_interleaved=True),
}  # fmt: skip


@pytest.mark.parametrize("transformers", [4, 5])
@pytest.mark.parametrize("name", SAME)
def test_round_trip(name: str, transformers: int) -> None:
    scaling = SAME[name]
    if name == "proportional" and transformers == 4:
        with pytest.raises(RopeScaleUnsupportedError, match=r"rope_type: .*Transformers 4"):
            scaling.to_hf_config(4)
        return
    written = json.loads(json.dumps(scaling.to_hf_config(transformers)))
    assert ("rope_parameters" in written) == (transformers == 5)
    # Nothing that is written is ignored or contradicts itself: no warning.
    assert RopeScaling.from_hf_config(written, strict=True) == scaling


def test_rules_without_a_name_there() -> None:
    ntk = RopeScaling.ntk(**SHAPE, factor=8.0)
    by_parts = RopeScaling.ntk_by_parts(**SHAPE, **L)
    for scaling, rope_type in ((ntk, "default"), (by_parts, "yarn")):
        read = RopeScaling.from_hf_config(scaling.to_hf_config())
        assert read.rope_type == rope_type
        assert torch.equal(read.inv_freq, scaling.inv_freq)
        assert read.attention_factor == scaling.attention_factor == 1.0
    dynamic = RopeScaling.dynamic_yarn(**SHAPE, original_max_position_embeddings=1024)
    with pytest.raises(RopeScaleUnsupportedError, match=r"rope_type: .*got dynamic_yarn"):
        dynamic.to_hf_config()


@pytest.mark.parametrize("transformers", [3, 6, "5", True, None, 4.5])
def test_other_releases_are_refused(transformers: Any) -> None:
    with pytest.raises(RopeScaleValueError, match=r"transformers: expected one of \(4, 5\), got"):
        SAME["yarn"].to_hf_config(transformers)


@pytest.mark.parametrize(("head_dim", "share"), [(64, 0.3), (512, 0.6), (512, 0.999)])
def test_odd_share_of_a_head(head_dim: int, share: float) -> None:
    raw = {"head_dim": head_dim, "partial_rotary_factor": share, "rope_theta": 1e4,
           "rope_scaling": {"rope_type": "linear", "factor": 2.0}}  # fmt: skip
    scaling = quiet(raw)
    assert scaling.rotary_dim == int(head_dim * share) + 1
    for transformers in (4, 5):
        assert RopeScaling.from_hf_config(scaling.to_hf_config(transformers)) == scaling


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", CASES)
def test_a_dialects_numbers_can_be_written_for_transformers(name: str, dialect: str) -> None:
    try:
        scaling = quiet(CASES[name], dialect=dialect)
    except RopeScaleUnsupportedError:
        return
    if scaling.mrope_section is not None and scaling._parameters.softmax_mscale:
        with pytest.raises(RopeScaleUnsupportedError, match=r"mrope_section: expected None where"):
            scaling.to_hf_config()
        return
    read = quiet(scaling.to_hf_config())
    assert torch.equal(read.inv_freq, scaling.inv_freq)
    assert read.attention_factor == scaling.attention_factor
    assert read.softmax_scale_multiplier == scaling.softmax_scale_multiplier
    assert read.mrope_section == scaling.mrope_section


def test_transformers_reads_what_is_written() -> None:
    modeling = pytest.importorskip("transformers.modeling_rope_utils")
    transformers = pytest.importorskip("transformers")
    for name in ("yarn", "yarn, all", "llama3", "longrope", "linear", "dynamic"):
        scaling = SAME[name]
        written = {"hidden_size": 256, "num_attention_heads": 4, **scaling.to_hf_config()}
        config = transformers.AutoConfig.for_model("llama", **written)
        rope_type = config.rope_parameters["rope_type"]
        inv_freq, factor = modeling.ROPE_INIT_FUNCTIONS[rope_type](config, None)
        assert torch.equal(scaling.inv_freq, inv_freq), name
        assert scaling.attention_factor == factor


@settings(deadline=None)
@given(
    dim=st.integers(2, 128).map(lambda half: 2 * half),
    theta=st.floats(2.0, 1e9),
    factor=st.floats(1.0, 1e3),
    length=st.integers(1, 2**30),
    slow=st.floats(1e-3, 1e3),
    wider=st.floats(1.0, 1e3),
    attention_factor=st.none() | st.floats(1e-3, 1e3),
    mscales=st.tuples(*[st.none() | st.floats(0.0, 4.0)] * 2),
    truncate=st.booleans(),
)
def test_any_yarn_comes_back(
    dim: int, theta: float, factor: float, length: int, slow: float, wider: float,
    attention_factor: float | None, mscales: tuple[float | None, float | None], truncate: bool,
) -> None:  # fmt: skip
    scaling = RopeScaling.yarn(
        rotary_dim=dim, rope_theta=theta, factor=factor, original_max_position_embeddings=length,
        beta_fast=slow * wider, beta_slow=slow, attention_factor=attention_factor,
        mscale=mscales[0], mscale_all_dim=mscales[1], truncate=truncate,
    )  # fmt: skip
    for transformers in (4, 5):
        assert quiet(json.loads(json.dumps(scaling.to_hf_config(transformers)))) == scaling
