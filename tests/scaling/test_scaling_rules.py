"""RopeScaling: the triple that describes every rule, and the promises of an immutable value."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ropescale_kernels.errors import RopeScaleError
from ropescale_kernels.scaling import RopeScaling

SIZES: dict[str, Any] = {"rotary_dim": 64, "rope_theta": 1e4}
YARN: dict[str, Any] = {**SIZES, "factor": 8.0, "original_max_position_embeddings": 4096}
# Unit roundoff of float32.
U = 2.0**-24


def every_rule() -> dict[str, RopeScaling]:
    factors = {"short_factor": [1.5] * 32, "long_factor": [1.0 + j for j in range(32)]}
    length = {"original_max_position_embeddings": 4096}
    return {
        "default": RopeScaling.default(**SIZES),
        "linear": RopeScaling.linear(**SIZES, factor=4.0),
        "ntk": RopeScaling.ntk(**SIZES, factor=4.0),
        "dynamic_ntk": RopeScaling.dynamic_ntk(
            **SIZES, factor=4.0, max_position_embeddings=4096, seq_len=9000
        ),
        "ntk_by_parts": RopeScaling.ntk_by_parts(**YARN),
        "yarn": RopeScaling.yarn(**YARN),
        "dynamic_yarn": RopeScaling.dynamic_yarn(**SIZES, **length, seq_len=9000),
        "llama3": RopeScaling.llama3(**YARN),
        "longrope": RopeScaling.longrope(**SIZES, **factors, **length, factor=32.0),
        "proportional": RopeScaling.proportional(**SIZES, partial_rotary_factor=0.5, factor=2.0),
    }


@pytest.fixture(params=sorted(every_rule()))
def scaling(request: pytest.FixtureRequest) -> RopeScaling:
    return every_rule()[request.param]


def test_triple_describes_the_rule(scaling: RopeScaling) -> None:
    base, ramp = scaling.base_inv_freq.double(), scaling.ramp.double()
    want = base * ((1 - ramp) + ramp / scaling.factor)
    # Both sides carry float32 rounding: seven operations on the rule's side, and on ours a ramp
    # whose own error (of llama3: four operations on turns up to high_freq_factor) is weighed
    # against the smallest multiplier, 1 / factor.
    bound = U * (7 + 8 * scaling.factor) * want
    assert ((scaling.inv_freq.double() - want).abs() <= bound).all()


def test_ramp_is_a_share(scaling: RopeScaling) -> None:
    assert ((scaling.ramp >= 0) & (scaling.ramp <= 1)).all()


def test_ntk_base() -> None:
    plain = RopeScaling.default(rotary_dim=64, rope_theta=1e4 * 4.0 ** (64 / 62))
    assert torch.equal(every_rule()["ntk"].inv_freq, plain.inv_freq)


def test_ntk_by_parts_is_yarn_without_magnitude() -> None:
    parts, yarn = every_rule()["ntk_by_parts"], every_rule()["yarn"]
    assert torch.equal(parts.inv_freq, yarn.inv_freq)
    assert parts.attention_factor == 1.0
    assert yarn.attention_factor == 0.1 * math.log(8.0) + 1.0


def test_dynamic_yarn_without_length_is_unscaled() -> None:
    scaling = RopeScaling.dynamic_yarn(**SIZES, original_max_position_embeddings=4096)
    assert (scaling.factor, scaling.attention_factor) == (1.0, 1.0)


def test_proportional_stops_the_last_pairs() -> None:
    inv_freq = every_rule()["proportional"].inv_freq
    assert (inv_freq[:16] > 0).all()
    assert (inv_freq[16:] == 0).all()


@pytest.mark.parametrize(
    ("more", "want"),
    [
        ({"attention_factor": 1}, 1.0),
        ({"attention_factor": 1.0, "mscale": 2.0, "mscale_all_dim": 1.0}, 1.0),
        ({"mscale": 0.7, "mscale_all_dim": 0.7}, 1.0),
        ({"mscale": 0.7}, 0.1 * math.log(8.0) + 1.0),
        ({"mscale": 0, "mscale_all_dim": 0}, 0.1 * math.log(8.0) + 1.0),
        ({"mscale": 2.0, "mscale_all_dim": 1.0},
         (0.2 * math.log(8.0) + 1.0) / (0.1 * math.log(8.0) + 1.0)),
    ],
)  # fmt: skip
def test_attention_factor(more: dict[str, Any], want: float) -> None:
    assert RopeScaling.yarn(**YARN, **more).attention_factor == want


def test_tensors_are_copies(scaling: RopeScaling) -> None:
    for name in ("inv_freq", "base_inv_freq", "ramp"):
        before = getattr(scaling, name)
        getattr(scaling, name).fill_(7.0)
        assert torch.equal(getattr(scaling, name), before)


def test_scaling_is_immutable(scaling: RopeScaling) -> None:
    with pytest.raises(AttributeError, match=r"factor.*99"):
        scaling.factor = 99
    with pytest.raises(AttributeError, match="_parameters"):
        del scaling._parameters
    for arguments in ({}, {"rotary_dim": 64}):
        with pytest.raises(TypeError, match="RopeScaling: expected a named constructor"):
            RopeScaling(**arguments)


def test_copies_are_equal(scaling: RopeScaling) -> None:
    restored = pickle.loads(pickle.dumps(scaling))
    assert restored == scaling
    assert hash(restored) == hash(scaling)
    assert torch.equal(restored.inv_freq, scaling.inv_freq)
    assert copy.deepcopy(scaling) == copy.copy(scaling) == scaling
    assert scaling != "scaling"


def test_rules_differ_from_one_another() -> None:
    assert len({scaling.fingerprint() for scaling in every_rule().values()}) == len(every_rule())


@pytest.mark.parametrize(
    "change",
    [
        {"rotary_dim": 66},
        {"rope_theta": 10000.000000000002},
        {"factor": 8.000000000000002},
        {"original_max_position_embeddings": 4097},
        {"beta_fast": 33.0},
        {"beta_slow": 1.5},
        {"attention_factor": 1.0},
        {"mscale": 1.0},
        {"truncate": False},
        {"mrope_section": [8, 12, 12]},
        {"mrope_section": [8, 12, 12], "mrope_interleaved": True},
    ],
)
def test_fingerprint_sees_every_parameter(change: dict[str, Any]) -> None:
    assert RopeScaling.yarn(**{**YARN, **change}) != RopeScaling.yarn(**YARN)
    axes = {**YARN, "mrope_section": [8, 12, 12]}
    assert RopeScaling.yarn(**axes, mrope_interleaved=True) != RopeScaling.yarn(**axes)
    # Without axes there is nothing to alternate.
    assert RopeScaling.yarn(**YARN, mrope_interleaved=True) == RopeScaling.yarn(**YARN)


def test_fingerprint_ignores_how_a_number_is_written() -> None:
    assert RopeScaling.yarn(**{**YARN, "factor": 8, "rope_theta": 10000}) == RopeScaling.yarn(
        **{**YARN, "beta_fast": 32, "original_max_position_embeddings": 4096.0}
    )


def test_fingerprint_is_the_same_in_every_release() -> None:
    scaling = RopeScaling.yarn(
        rotary_dim=128, rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768
    )
    # Prefix caches are keyed by it: another value here needs another format name in parameters.py.
    assert (
        scaling.fingerprint() == "93f23470504db2a236832d912095f2bd060aaed4c0c3c095c930c67bd4b0b87c"
    )


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from ropescale_kernels.scaling import RopeScaling as R;"
        f"print(R.yarn(**{YARN!r}).fingerprint())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == RopeScaling.yarn(**YARN).fingerprint()


def test_repr_names_rule_and_numbers() -> None:
    text = repr(RopeScaling.yarn(**YARN, mrope_section=[8, 12, 12]))
    for part in ("yarn", "rotary_dim=64", "factor=8.0", "4096", "attention_factor=1.2", "[8, 12"):
        assert part in text


def test_default_device_does_not_matter() -> None:
    with torch.device("meta"):
        built = every_rule()
    for name, scaling in every_rule().items():
        assert torch.equal(built[name].inv_freq, scaling.inv_freq)


def test_pos_freqs_belong_to_blends() -> None:
    yarn = every_rule()["yarn"]
    assert torch.equal(1.0 / yarn.pos_freqs, yarn.base_inv_freq)
    with pytest.raises(AttributeError, match="llama3"):
        _ = every_rule()["llama3"].pos_freqs


def _yarn_float64(
    dim: int, theta: float, scale: float, low: float, high: float
) -> tuple[list[float], list[float]]:
    """YaRN from the paper's definitions, in float64: frequencies and ramp."""
    ramp = [min(max((j - low) / (high - low), 0.0), 1.0) for j in range(dim // 2)]
    freqs = [theta ** (-2 * j / dim) for j in range(dim // 2)]
    return [f * (1 - r) + f / scale * r for f, r in zip(freqs, ramp, strict=True)], ramp


@settings(max_examples=80, deadline=None)
@given(
    dim=st.integers(8, 128).map(lambda half: 2 * half),
    theta=st.floats(1e3, 1e8),
    scale=st.floats(1.0, 128.0),
    length=st.integers(2048, 2**20),
    fast=st.floats(8.0, 64.0),
    slow=st.floats(0.5, 4.0),
)
def test_yarn_is_the_papers_formula(
    dim: int, theta: float, scale: float, length: int, fast: float, slow: float
) -> None:
    scaling = RopeScaling.yarn(
        rotary_dim=dim, rope_theta=theta, factor=scale, original_max_position_embeddings=length,
        beta_fast=fast, beta_slow=slow, truncate=False,
    )  # fmt: skip
    low, high = (
        dim / 2 * math.log(length / (2 * math.pi * turns), theta) for turns in (fast, slow)
    )
    low, high = max(low, 0.0), min(high, dim - 1)
    assume(low < high)
    want, ramp = _yarn_float64(dim, theta, scale, low, high)
    # theta ** x: exponent rounded once (its error grows by ln theta), theta once, the power by two
    # ulps; then seven roundings of the blend. The ramp: low and width in float32, each an ulp of
    # up to dim, over the width; its error moves the result by at most its base frequency.
    power = U * (math.log(theta) + 1 + 4)
    span = dim * U * 4
    ramp_error = span / (high - low)
    for j, value in enumerate(scaling.inv_freq.tolist()):
        base = theta ** (-2 * j / dim)
        inexact = 0.0 < ramp[j] < 1.0 or abs(j - low) < 1 or abs(j - high) < 1
        bound = want[j] * (power + 7 * U) + base * (ramp_error + 2 * U) * inexact
        assert abs(value - want[j]) <= bound


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([1.0]),
    st.floats(0.5, 1e6), st.integers(1, 10**6), st.just(torch.ones(2)), st.just(10**400),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=st.data(), rule=st.sampled_from(sorted(every_rule())))
def test_constructors_fail_only_on_purpose(data: st.DataObject, rule: str) -> None:
    constructor = getattr(RopeScaling, rule)
    names = [n for n in constructor.__func__.__kwdefaults__ or {} if n != "cls"]
    code = constructor.__func__.__code__
    required = code.co_varnames[1 : 1 + code.co_kwonlyargcount]
    sane = {**YARN, "max_position_embeddings": 4096, "short_factor": [1.0] * 32,
            "long_factor": [2.0] * 32}  # fmt: skip
    arguments = {n: sane[n] for n in required if n in sane}
    for name in data.draw(st.sets(st.sampled_from(sorted({*required, *names})), max_size=3)):
        arguments[name] = data.draw(ANYTHING)
    try:
        scaling = constructor(**arguments)
    except RopeScaleError:
        return
    assert torch.isfinite(scaling.inv_freq).all()
    assert 0 < scaling.attention_factor < math.inf


def test_llama3_without_a_middle_is_a_step() -> None:
    scaling = RopeScaling.llama3(
        rotary_dim=128,
        rope_theta=5e5,
        factor=16.0,
        original_max_position_embeddings=8192,
        low_freq_factor=1.0,
        high_freq_factor=1.0,
    )
    turns = 8192 * scaling.base_inv_freq / (2 * math.pi)
    assert torch.equal(scaling.ramp, (turns <= 1).to(torch.float32))
    divided = scaling.base_inv_freq / 16.0
    assert torch.equal(scaling.inv_freq, torch.where(turns <= 1, divided, scaling.base_inv_freq))
