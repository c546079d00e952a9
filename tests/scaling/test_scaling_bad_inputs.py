"""Parameters that describe no valid scaling are refused at construction, by name and value."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleTypeError
from ropescale_kernels.scaling import RopeScaling

NAN, INF = math.nan, math.inf
SIZES: dict[str, Any] = {"rotary_dim": 64, "rope_theta": 1e4}
YARN: dict[str, Any] = {**SIZES, "factor": 8.0, "original_max_position_embeddings": 4096}
LONG: dict[str, Any] = {
    **SIZES,
    "original_max_position_embeddings": 4096,
    "short_factor": [1.0] * 32,
    "long_factor": [2.0] * 32,
    "factor": 4.0,
}
SANE: dict[str, dict[str, Any]] = {
    "default": SIZES,
    "linear": {**SIZES, "factor": 8.0},
    "ntk": {**SIZES, "factor": 8.0},
    "dynamic_ntk": {**SIZES, "factor": 8.0, "max_position_embeddings": 4096},
    "ntk_by_parts": YARN,
    "yarn": YARN,
    "dynamic_yarn": {**SIZES, "original_max_position_embeddings": 4096},
    "llama3": YARN,
    "longrope": LONG,
    "proportional": {**SIZES, "factor": 8.0},
}
NO_NUMBER = [NAN, INF, -INF, "4", True, [4.0], {}, 10**400, 1e308, 0, -2]
BAD = {
    "factor": [*NO_NUMBER, 0.5],
    "rope_theta": [*NO_NUMBER, 1, None],
    "rotary_dim": [*NO_NUMBER, 1, 63, 2**31, 514, 6.5, None],
    "original_max_position_embeddings": [*NO_NUMBER, 4096.5, 2**53 + 1, None],
    "max_position_embeddings": [*NO_NUMBER, 4096.5, 2**53 + 1],
    "beta_fast": [*NO_NUMBER, None],
    "beta_slow": [*NO_NUMBER, None],
    "attention_factor": [*NO_NUMBER, 1e-300],
    "mscale": [NAN, INF, "1", True, -1.0, 1e308],
    "mscale_all_dim": [NAN, INF, "1", True, -1.0, -4.8, 1e308],
    "truncate": [1, None, "no"],
    "low_freq_factor": [*NO_NUMBER, None],
    "high_freq_factor": [*NO_NUMBER, None, 0.5],
    "partial_rotary_factor": [0, -0.5, 1.5, NAN, "1", True, 0.01],
    "seq_len": [-1, NAN, "7", True, 1.5],
    "mrope_interleaved": [1, None],
    "mrope_section": [[], [16, 16, 16], [-1, 33], [True, 31], ["32"], "abc", 32, [0.5, 31.5]],
    "short_factor": [[1.0] * 31, [0.0] * 32, [NAN] * 32, ["1"] * 32, "ab", None, 1.0],
    "long_factor": [[1.0] * 33, [-1.0] * 32, [INF] * 32, [True] * 32, None],
}


@pytest.mark.parametrize("rule", SANE)
def test_arguments_that_python_refuses_are_named_under_the_constructor(rule: str) -> None:
    build = getattr(RopeScaling, rule)
    missing, *_ = [name for name in SANE[rule] if name != "factor"]
    without = {name: value for name, value in SANE[rule].items() if name != missing}
    with pytest.raises(TypeError, match=rf"^RopeScaling\.{rule}\(\) missing 1 .*'{missing}'$"):
        build(**without)
    with pytest.raises(TypeError, match=rf"^RopeScaling\.{rule}\(\) got an unexpected .*'facto'"):
        build(**SANE[rule], facto=4.0)
    with pytest.raises(TypeError, match=rf"^RopeScaling\.{rule}\(\) takes 1 positional"):
        build(64, 1e4)


def _takes(rule: str, name: str) -> bool:
    code = getattr(RopeScaling, rule).__func__.__code__
    return name in code.co_varnames[1 : 1 + code.co_kwonlyargcount]


CASES = [
    pytest.param(rule, name, value, id=f"{rule}-{name}-{str(value)[:12]}-{index}")
    for name, values in BAD.items()
    for rule in SANE
    if _takes(rule, name)
    for index, value in enumerate(values)
]


@pytest.mark.parametrize(("rule", "name", "value"), CASES)
def test_refused_by_name_and_value(rule: str, name: str, value: object) -> None:
    with pytest.raises(RopeScaleConfigError) as error:
        getattr(RopeScaling, rule)(**{**SANE[rule], name: value})
    message = str(error.value)
    assert name in message.split(": expected")[0] or name in message.split("got ")[1]
    if isinstance(value, (str, int, float)) or value is None:
        shown = str(value)[:100]
        # Numbers are repeated as they came or as the float they became.
        assert shown in message or repr(float(shown)) in message


@pytest.mark.parametrize("rule", SANE)
def test_sane_parameters_pass(rule: str) -> None:
    assert torch.isfinite(getattr(RopeScaling, rule)(**SANE[rule]).inv_freq).all()


@pytest.mark.parametrize("name", ["factor", "rope_theta", "rotary_dim", "beta_fast", "mscale"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_tensor_is_a_type_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(RopeScaleTypeError, match=rf"{name}: .*tensor of shape \({shape and 3}"):
        RopeScaling.yarn(**{**YARN, name: torch.ones(shape)})


@pytest.mark.parametrize("name", ["short_factor", "mrope_section"])
def test_tensor_of_a_list_is_a_type_error(name: str) -> None:
    with pytest.raises(RopeScaleTypeError, match=rf"{name}: .*tensor of shape \(32,"):
        RopeScaling.longrope(**{**LONG, name: torch.ones(32)})


def test_swapped_betas() -> None:
    with pytest.raises(RopeScaleConfigError, match=r"beta_fast.*beta_slow=32\.0.*got 1\.0.*swap"):
        RopeScaling.yarn(**YARN, beta_fast=1, beta_slow=32)


def test_equal_betas_make_a_step() -> None:
    ramp = RopeScaling.yarn(**YARN, beta_fast=4, beta_slow=4, truncate=False).ramp
    assert set(ramp.tolist()) == {0.0, 1.0}


def test_betas_beyond_float64_turns() -> None:
    with pytest.raises(RopeScaleConfigError, match="beta_slow"):
        RopeScaling.yarn(**YARN, beta_slow=5e-324)


def test_longrope_needs_a_magnitude() -> None:
    without = {key: value for key, value in LONG.items() if key != "factor"}
    with pytest.raises(RopeScaleConfigError, match=r"factor: .*got None"):
        RopeScaling.longrope(**without)
    assert RopeScaling.longrope(**without, attention_factor=1.25).attention_factor == 1.25
    ratio = RopeScaling.longrope(**without, max_position_embeddings=4096 * 8)
    assert ratio.factor == 8.0
    with pytest.raises(RopeScaleConfigError, match=r"original_max_position_embeddings.*got 1"):
        RopeScaling.longrope(**{**LONG, "original_max_position_embeddings": 1})


@pytest.mark.parametrize("rule", ["ntk", "dynamic_ntk"])
def test_ntk_needs_four_channels(rule: str) -> None:
    with pytest.raises(RopeScaleConfigError, match=r"rotary_dim: .*got 2"):
        getattr(RopeScaling, rule)(**{**SANE[rule], "rotary_dim": 2})


@pytest.mark.parametrize(("factor", "seq_len"), [(1e30, None), (1e38, 2**50), (3.4e38, 9000)])
def test_dynamic_ntk_refuses_a_lost_stretch(factor: float, seq_len: int | None) -> None:
    more = {"factor": factor, "rotary_dim": 4, "max_position_embeddings": 4099}
    with pytest.raises(RopeScaleConfigError, match=r"factor: .*e\+3"):
        RopeScaling.dynamic_ntk(**{**SANE["dynamic_ntk"], **more}, seq_len=seq_len)


def test_frequencies_that_vanish_are_refused() -> None:
    with pytest.raises(RopeScaleConfigError, match=r"rope_theta and factor: .*3e\+38"):
        RopeScaling.linear(rotary_dim=128, rope_theta=3e38, factor=3e38)


def test_magnitude_beyond_float32_is_refused() -> None:
    with pytest.raises(RopeScaleConfigError, match=r"mscale: .*3e\+38"):
        RopeScaling.yarn(**{**YARN, "factor": 1e30}, mscale=3e38, mscale_all_dim=1e-30)
