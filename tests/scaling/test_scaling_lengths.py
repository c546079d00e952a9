"""Rules that follow the sequence length: many lengths on a device equal one length on the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleTypeError, RopeScaleValueError
from ropescale_kernels.scaling import RopeScaling

SIZES: dict[str, Any] = {"rotary_dim": 128, "rope_theta": 1e6}
LENGTH: dict[str, Any] = {"original_max_position_embeddings": 4096}
YARN: dict[str, Any] = {**SIZES, **LENGTH, "factor": 4.0}
LONG: dict[str, Any] = {
    "short_factor": [1.0 + 0.1 * j for j in range(64)],
    "long_factor": [1.0 + j for j in range(64)],
}
SCALINGS = {
    "yarn": RopeScaling.yarn(**YARN),
    "yarn explicit": RopeScaling.yarn(**YARN, attention_factor=0.9),
    "yarn ratio": RopeScaling.yarn(**YARN, mscale=0.7, mscale_all_dim=1.3, truncate=False),
    "ntk_by_parts": RopeScaling.ntk_by_parts(**YARN),
    "dynamic_yarn": RopeScaling.dynamic_yarn(**SIZES, **LENGTH),
    "dynamic_ntk": RopeScaling.dynamic_ntk(**SIZES, factor=3.0, max_position_embeddings=4096),
    "longrope": RopeScaling.longrope(**SIZES, **LENGTH, **LONG, factor=32.0),
    "default": RopeScaling.default(**SIZES),
    "linear": RopeScaling.linear(**SIZES, factor=2.0),
    "llama3": RopeScaling.llama3(**YARN),
    "ntk": RopeScaling.ntk(**SIZES, factor=2.0),
    "proportional": RopeScaling.proportional(**SIZES, partial_rotary_factor=0.25),
}
DEPENDENT = {name for name in SCALINGS if name.startswith(("yarn", "ntk_by", "dyn", "longrope"))}
EDGES = [0, 1, 4095, 4096, 4097, 8191, 12288, 131071, 10**6 + 3, 2**31 - 1]


def _lengths() -> torch.Tensor:
    random = torch.randint(1, 10**6, (190,), generator=torch.Generator().manual_seed(5))
    return torch.cat([torch.tensor(EDGES), random])


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_device_equals_host(name: str, dtype: torch.dtype) -> None:
    scaling, seq_lens = SCALINGS[name], _lengths().to(dtype)
    inv_freq = scaling.inv_freq_at(seq_lens)
    factor = scaling.factor_at(seq_lens)
    attention_factor = scaling.attention_factor_at(seq_lens)
    assert (inv_freq.dtype, factor.dtype) == (torch.float32, torch.float64)
    assert attention_factor.dtype == torch.float64
    for row, seq_len in enumerate(seq_lens.tolist()):
        static = scaling.at_seq_len(seq_len)
        assert torch.equal(inv_freq[row], static.inv_freq), seq_len
        assert factor[row].item() == static.factor, seq_len
        host = torch.tensor(static.attention_factor, dtype=torch.float32)
        assert attention_factor[row].to(torch.float32) == host, seq_len


@pytest.mark.parametrize("name", SCALINGS)
def test_which_rules_depend(name: str) -> None:
    scaling = SCALINGS[name]
    assert scaling.depends_on_seq_len is (name in DEPENDENT)
    changed = not torch.equal(scaling.at_seq_len(10**6).inv_freq, scaling.inv_freq)
    assert changed is (name in DEPENDENT)
    assert (scaling.at_seq_len(10**6) is scaling) is (name not in DEPENDENT)
    assert scaling.is_blend is (name.startswith(("yarn", "ntk_by", "dynamic_yarn")))


def test_blend_repeats_in_float32() -> None:
    scaling = SCALINGS["yarn"]
    ramp, pos_freqs = scaling.ramp, scaling.pos_freqs
    keep = 1 - ramp
    inter = 1 / (torch.tensor(4.0) * pos_freqs)
    assert torch.equal(inter * (1 - keep) + (1 / pos_freqs) * keep, scaling.inv_freq)


def test_yarn_at_a_length_is_plain_yarn() -> None:
    assert SCALINGS["yarn"].at_seq_len(3 * 4096) == RopeScaling.yarn(**{**YARN, "factor": 3.0})
    assert SCALINGS["yarn"].at_seq_len(100).factor == 1.0


def test_magnitude_follows_the_length() -> None:
    assert SCALINGS["yarn explicit"].at_seq_len(10**6).attention_factor == 0.9
    ratio = SCALINGS["yarn ratio"]
    assert ratio.at_seq_len(10**6).attention_factor < ratio.at_seq_len(5000).attention_factor < 1


def test_empty_lengths() -> None:
    for scaling in SCALINGS.values():
        nothing = torch.zeros(0, dtype=torch.int64)
        assert scaling.inv_freq_at(nothing).shape == (0, 64)
        assert scaling.factor_at(nothing).numel() == 0


def test_kept_constants_are_not_handed_out() -> None:
    for scaling in SCALINGS.values():
        seq_lens = torch.tensor([5000])
        before = scaling.inv_freq_at(seq_lens).clone()
        scaling.inv_freq_at(seq_lens).fill_(3.0)
        assert torch.equal(scaling.inv_freq_at(seq_lens), before)


@pytest.mark.parametrize("method", ["factor_at", "attention_factor_at", "inv_freq_at"])
def test_seq_lens_are_checked(method: str) -> None:
    call = getattr(SCALINGS["yarn"], method)
    with pytest.raises(RopeScaleTypeError, match=r"seq_lens.*\[5\]"):
        call([5])
    with pytest.raises(RopeScaleTypeError, match=r"seq_lens.*float32"):
        call(torch.ones(2))
    with pytest.raises(RopeScaleValueError, match=r"seq_lens.*\(2, 3\)"):
        call(torch.ones(2, 3, dtype=torch.int64))


@pytest.mark.parametrize("bad", [-1, 2**53 + 1, 1.5, True, "7", float("nan")])
def test_seq_len_is_checked(bad: object) -> None:
    for name in ("yarn", "default"):
        with pytest.raises(RopeScaleConfigError, match="seq_len") as error:
            SCALINGS[name].at_seq_len(bad)
        assert str(bad) in str(error.value)
