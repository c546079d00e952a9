"""Inspection: each pair's fate, the dialects side by side, every published config."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ropescale_kernels.planner import inspect
from ropescale_kernels.planner.compare import compare_dialects
from ropescale_kernels.planner.inspect import inspect_config
from ropescale_kernels.planner.inspect_plot import write_ramp_plot
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config.dialects import DIALECTS, OTHER_ENGINES

Published = Callable[[str], dict[str, Any]]
CONFIGS = Path(__file__).parent.parent / "fixtures" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))


def fates(found: inspect.Inspection) -> dict[str, int]:
    return dict(Counter(pair.fate for pair in found.pairs))


def test_yarn_keeps_blends_and_interpolates(published: Published) -> None:
    (found,) = inspect_config(published("qwen3-8b-yarn"))
    # The ramp rises between pairs 23 and 40, of which the first is kept and the last divided.
    assert fates(found) == {"kept": 24, "blended": 16, "interpolated": 24}
    first, blended, last = found.pairs[0], found.pairs[30], found.pairs[63]
    assert first.wavelength == pytest.approx(2 * math.pi)
    assert first.turns == pytest.approx(32768 / (2 * math.pi))
    assert blended.ramp == pytest.approx(7 / 17)
    # Frequencies are blended, so what divides them is not: 1 - 7/17 + 7/17/4.
    assert blended.divided_by == pytest.approx(1 / (10 / 17 + 7 / 17 / 4), rel=1e-6)
    assert last.divided_by == pytest.approx(4.0, rel=1e-6)
    assert last.scaled_wavelength == pytest.approx(4 * last.wavelength, rel=1e-6)
    assert found.numbers["factor"] == 4.0
    assert found.numbers["logits are multiplied by"] == pytest.approx(1.13862944**2)


@pytest.mark.parametrize(
    ("name", "layer_type", "want"),
    [
        ("llama-3.1-8b", None, {"kept": 29, "blended": 6, "interpolated": 29}),
        ("gemma-3-4b-it", "full_attention", {"interpolated": 128}),
        ("gemma-3-4b-it", "sliding_attention", {"kept": 128}),
        ("kimi-k2-instruct", None, {"kept": 20, "interpolated": 12}),
        ("mistral-7b-v0.3", None, {"kept": 64}),
    ],
)
def test_fates(
    name: str, layer_type: str | None, want: dict[str, int], published: Published
) -> None:
    (found,) = inspect_config(published(name), layer_type=layer_type)
    assert fates(found) == want


def test_a_default_device_does_not_matter(published: Published) -> None:
    want = inspect_config(published("qwen2.5-7b-instruct-yarn"))
    with torch.device("meta"):
        assert inspect_config(published("qwen2.5-7b-instruct-yarn")) == want


def test_pairs_that_do_not_turn_are_still() -> None:
    scaling = RopeScaling.proportional(rotary_dim=64, rope_theta=1e4, partial_rotary_factor=0.25)
    found = inspect.pairs(scaling, None)
    assert [pair.fate for pair in found] == ["kept"] * 8 + ["still"] * 24
    assert found[-1].divided_by is None
    assert found[-1].turns is None


def test_longrope_by_length(published: Published) -> None:
    raw = published("phi-4-mini-instruct")
    (short,), (long,) = inspect_config(raw), inspect_config(raw, seq_len=5000)
    assert fates(short) == {"kept": 48}
    assert fates(long)["blended"] > 40
    want = raw["rope_scaling"]["long_factor"]
    assert [pair.divided_by for pair in long.pairs] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_config(name: str, published: Published) -> None:
    for found in inspect_config(published(name)):
        assert [reading.dialect for reading in found.readings] == list(DIALECTS)
        hf = found.readings[0]
        assert (hf.error, hf.differs) == (None, ())
        assert len(found.pairs) == found.numbers["rotary_dim"] // 2  # type: ignore[operator]
        wavelengths = [pair.wavelength for pair in found.pairs]
        assert wavelengths == sorted(wavelengths)


def test_differences_are_marked(published: Published) -> None:
    (found,) = inspect_config(published("deepseek-r1-0528-qwen3-8b"))
    differs = {reading.dialect: reading.differs for reading in found.readings}
    assert differs["vllm"] == ()
    assert differs["sglang"] == differs["original"] == ("attention_factor",)
    assert differs["hf-4.45"] == ("inv_freq",)
    magnitudes = {r.dialect for r in found.readings if r.other_magnitude}
    assert magnitudes == {"sglang", "deepseek", "original"}
    (refused,) = inspect_config(published("llama-3.1-8b"))
    errors = {reading.dialect for reading in refused.readings if reading.error}
    assert errors == {"deepseek", "original"}


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_picture(suffix: str, published: Published, tmp_path: Path) -> None:
    path = tmp_path / f"ramp{suffix}"
    write_ramp_plot(inspect_config(published("gemma-3-4b-it")), path)
    assert path.stat().st_size > 10_000
    if suffix == ".svg":
        text = path.read_text()
        # One mark for each pair in both panels, of two layer types.
        assert text.count("<use ") >= 4 * 128


def test_other_channels_are_marked() -> None:
    raw = {"model_type": "llama", "head_dim": 128, "max_position_embeddings": 4096,
           "partial_rotary_factor": 0.5}  # fmt: skip
    (found,) = inspect_config(raw)
    assert {reading.dialect: reading.differs for reading in found.readings}["vllm"] == (
        "rotary_dim",
        "inv_freq",
    )


def test_hostile_names_of_layer_types(tmp_path: Path) -> None:
    name = "[bold]a$x_{$b\x1b[31m"
    raw = {"head_dim": 64, "rope_parameters": {name: {"rope_type": "default"}}}
    (found,) = inspect_config(raw)
    assert found.layer_type == name
    write_ramp_plot([found], tmp_path / "ramp.png")


def test_other_engines_measure_the_ramp_in_the_longest_length(published: Published) -> None:
    raw = published("qwen3-8b-yarn")
    off = {
        reading.dialect: reading.inv_freq_error
        for reading in compare_dialects(raw, dialects={**DIALECTS, **OTHER_ENGINES})
    }
    longest = off["hf-4.45"]
    assert longest is not None
    assert longest > 0.1
    assert off["exllamav2"] == longest
    # These take the ratio of the lengths for the factor; one of them measures as exllamav2 does.
    assert off["TensorRT-LLM, fused"] == off["hf-4.51"] == pytest.approx(2.2)
    assert off["TurboMind"] == pytest.approx(2.247, abs=1e-3)
