"""`from_hf_config`: where keys are found, what is refused, and what is said about the rest."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest
import torch

from ropescale_kernels.errors import (
    RopeScaleConfigError,
    RopeScaleTypeError,
    RopeScaleUnsupportedError,
    RopeScaleWarning,
)
from ropescale_kernels.scaling import RopeScaling

LLAMA: dict[str, Any] = {"model_type": "llama", "head_dim": 64, "rope_theta": 1e4}
ROPE: dict[str, Any] = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 1024,
}
YARN: dict[str, Any] = {**LLAMA, "max_position_embeddings": 4096, "rope_scaling": ROPE}
BUILT = RopeScaling.yarn(
    rotary_dim=64, rope_theta=1e4, factor=4.0, original_max_position_embeddings=1024
)
read = RopeScaling.from_hf_config


class Object:
    """A config object."""

    def __init__(self, keys: Any) -> None:
        self.keys = keys

    def to_dict(self) -> Any:
        return self.keys


def _rope(**changes: Any) -> dict[str, Any]:
    merged = {**ROPE, **changes}
    return {**YARN, "rope_scaling": {k: v for k, v in merged.items() if v is not ...}}


@pytest.mark.parametrize(
    "config",
    [
        YARN,
        {**YARN, "rope_scaling": None, "rope_parameters": ROPE},
        _rope(rope_type=..., type="yarn"),
        _rope(type="yarn"),
        {**YARN, "rope_theta": None, "rope_scaling": {**ROPE, "rope_theta": 1e4}},
        {"model_type": "some_vlm", "text_config": YARN, "rope_theta": 1e4},
        {**YARN, "head_dim": None, "hidden_size": 256, "num_attention_heads": 4},
        {**YARN, "head_dim": 128, "partial_rotary_factor": 0.5},
        _rope(factor=None),
        _rope(original_max_position_embeddings=None) | {"original_max_position_embeddings": 1024},
        Object(YARN),
    ],
)
def test_one_scaling_in_many_spellings(config: Any) -> None:
    assert read(config) == BUILT


def test_keys_beside_a_text_config_are_told() -> None:
    raw = {"model_type": "some_vlm", "text_config": YARN, "rope_theta": 5.0, "rope_scaling": ROPE}
    with pytest.warns(RopeScaleWarning, match=r"rope_theta: .*got 5\.0\. It has no effect") as all_:
        assert read(raw) == BUILT
    # What only repeats the text model's own is no loss.
    assert len(all_) == 1


def test_a_misspelt_key_is_recognised() -> None:
    rope = {**ROPE, "original_max_position_embedding": 1024}
    del rope["original_max_position_embeddings"]
    raw = {**YARN, "rope_scaling": rope}
    meant = r"rope_scaling\['original_max_position_embedding'\]: .*Did you mean 'original_max_"
    with pytest.warns(RopeScaleWarning) as caught:
        read(raw)
    assert any(re.match(meant, str(warning.message)) for warning in caught)
    with pytest.raises(RopeScaleConfigError, match=r"rope_type: .*Did you mean 'yarn'\?"):
        read(_rope(rope_type="Yarn"))
    with pytest.warns(RopeScaleWarning, match=r"rope_scalling: .*Did you mean 'rope_scaling'\?"):
        read({**YARN, "rope_scalling": ROPE})


def test_a_length_beside_layer_types_is_told() -> None:
    raw = {**YARN, "model_type": "olmo3", "original_max_position_embeddings": 512}
    with pytest.warns(RopeScaleWarning, match=r"^original_max_position_embeddings: .*got 512"):
        read(raw, layer_type="full_attention")


def test_layer_types_are_bounded() -> None:
    raw = {"head_dim": 64, "rope_parameters": {f"l{j}": {} for j in range(17)}}
    with pytest.raises(RopeScaleConfigError, match=r"at most 16 layer types, got 17"):
        read(raw, layer_type="l0")


@pytest.mark.parametrize("factor", [10**5000, -(10**5000)], ids=["above", "below"])
def test_integers_of_any_size_are_refused_in_few_words(factor: int) -> None:
    with pytest.raises(RopeScaleConfigError, match=r"factor: .*an integer of 16610 bits"):
        read(_rope(factor=factor))


def test_an_extreme_base_is_no_overflow() -> None:
    raw = {**YARN, "head_dim": 512, "rope_theta": 1.0000000000000002}
    raw["rope_scaling"] = {**ROPE, "original_max_position_embeddings": 2**53}
    with pytest.warns(RopeScaleWarning):
        assert torch.isfinite(read(raw).inv_freq).all()


def test_two_bases_are_told() -> None:
    with pytest.warns(RopeScaleWarning, match=r"rope_theta: .*got 7\.0"):
        assert (
            read({**YARN, "rope_theta": 7.0, "rope_scaling": {**ROPE, "rope_theta": 1e4}}) == BUILT
        )


def test_paths(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(YARN))
    assert read(file) == read(str(file)) == read(tmp_path) == BUILT


def test_nested_by_layer_type() -> None:
    nested = {"full_attention": ROPE, "sliding_attention": {"rope_theta": 1e5}, "none": None}
    config = {**YARN, "rope_scaling": None, "rope_parameters": nested}
    assert read(config, layer_type="full_attention") == BUILT
    plain = RopeScaling.default(rotary_dim=64, rope_theta=1e5)
    assert read(config, layer_type="sliding_attention") == plain
    for layer_type in (None, "none", "unheard of", 3):
        with pytest.raises(RopeScaleConfigError, match="layer_type") as error:
            read(config, layer_type=layer_type)
        assert repr(layer_type) in str(error.value) or str(layer_type) in str(error.value)


def test_flat_parameters_serve_every_layer_type() -> None:
    assert read(YARN, layer_type="full_attention") == BUILT


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (_rope(factor=...), ["factor", "no such key"]),
        (_rope(factor=float("nan")), ["factor", "nan"]),
        (_rope(factor=-2), ["factor", "-2"]),
        (_rope(factor="4"), ["factor", "'4'"]),
        (_rope(rope_type="YARN"), ["rope_type", "'YARN'", "longrope"]),
        (_rope(rope_type=3), ["rope_type", "3"]),
        (_rope(type="linear"), ["type", "'yarn'", "'linear'"]),
        (_rope(beta_fast=1, beta_slow=32), ["beta_fast", "32.0", "1.0"]),
        (_rope(beta_fast=-1), ["beta_fast", "-1"]),
        (_rope(mscale=-1.0, mscale_all_dim=1), ["mscale", "-1.0"]),
        (_rope(original_max_position_embeddings=0), ["original_max_position_embeddings", "0"]),
        (_rope(original_max_position_embeddings=0.5), ["original_max_position_embeddings", "0.5"]),
        (_rope(factor=None) | {"max_position_embeddings": 512}, ["factor", "512", "1024"]),
        (_rope(factor=None) | {"max_position_embeddings": None}, ["max_position_embeddings"]),
        (_rope(truncate="yes"), ["truncate", "'yes'"]),
        (_rope(rope_type="llama3"), ["low_freq_factor", "no such key"]),
        (_rope(rope_type="longrope"), ["short_factor", "None"]),
        (
            _rope(mrope_section=[1, 2, 3]) | {"model_type": "qwen2_vl"},
            ["mrope_section", "[1, 2, 3]"],
        ),
        ({**YARN, "rope_scaling": [1]}, ["rope_scaling", "list of 1"]),
        ({**YARN, "text_config": 5}, ["text_config", "5"]),
        ({**YARN, "model_type": 5}, ["model_type", "5"]),
        ({**YARN, "rope_theta": 0}, ["rope_theta", "0"]),
        ({**YARN, "head_dim": 0}, ["head_dim", "0"]),
        ({**YARN, "head_dim": -64}, ["head_dim", "-64"]),
        ({**YARN, "head_dim": 2**31}, ["head_dim", "2147483648"]),
        ({**YARN, "head_dim": 63}, ["head_dim", "63"]),
        ({**YARN, "head_dim": None}, ["hidden_size", "no such key"]),
        (
            {**YARN, "head_dim": None, "hidden_size": 64, "num_attention_heads": 0},
            ["num_attention_heads", "0"],
        ),
        ({**YARN, "partial_rotary_factor": 0}, ["partial_rotary_factor", "0"]),
        ({**YARN, "partial_rotary_factor": -0.5}, ["partial_rotary_factor", "-0.5"]),
        ({**YARN, "partial_rotary_factor": 1.5}, ["partial_rotary_factor", "1.5"]),
        ({**YARN, "partial_rotary_factor": float("nan")}, ["partial_rotary_factor", "nan"]),
        ({**YARN, "partial_rotary_factor": 0.01}, ["partial_rotary_factor", "0.01"]),
    ],
)
def test_refused_by_key_and_value(config: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(RopeScaleConfigError) as error:
        read(config)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (_rope(attn_factor=0.875), ["attn_factor", "0.875"]),
        (_rope(low_freq_factor=2.5), ["low_freq_factor", "2.5", "yarn"]),
        (_rope() | {"max_position_embeddings": 5000}, ["4096.0", "5000"]),
        (_rope(beta_fast=0), ["beta_fast", "32.0"]),
        (_rope(beta_slow=0.0), ["beta_slow", "1.0"]),
        (_rope(mscale=0.75), ["mscale", "0.75"]),
        (_rope(original_max_position_embeddings=2048) | {"original_max_position_embeddings": 1024},
         ["1024", "2048"]),
        ({**YARN, "model_type": "newcomer"}, ["model_type", "'newcomer'"]),
        ({**YARN, "rope_parameters": {**ROPE, "factor": 9.5}}, ["rope_parameters", "9.5"]),
    ],
)  # fmt: skip
def test_warned_with_both_numbers(config: dict[str, Any], parts: list[str]) -> None:
    with pytest.warns(RopeScaleWarning) as caught:
        scaling = read(config)
    assert len(caught) == 1
    for part in parts:
        assert part in str(caught[0].message)
    assert torch.equal(scaling.inv_freq, BUILT.inv_freq)


def test_share_that_a_plain_model_ignores() -> None:
    with pytest.warns(RopeScaleWarning, match=r"partial_rotary_factor.*0\.5"):
        scaling = read({**LLAMA, "partial_rotary_factor": 0.5})
    assert scaling.rotary_dim == 64


def test_strict_refuses_what_would_be_ignored() -> None:
    with pytest.raises(RopeScaleConfigError, match=r"attn_factor.*0\.875"):
        read(_rope(attn_factor=0.875), strict=True)
    assert read(YARN, strict=True) == BUILT
    with pytest.raises(RopeScaleConfigError, match=r"strict.*'yes'"):
        read(YARN, strict="yes")


@pytest.mark.parametrize("dialect", ["llama.cpp", None, ["hf"]])
def test_other_dialects_are_unsupported(dialect: Any) -> None:
    with pytest.raises(RopeScaleUnsupportedError, match=r"dialect: expected one of \('hf', .*got"):
        read(YARN, dialect=dialect)


@pytest.mark.parametrize("config", [None, 5, [YARN], torch.ones(2), Object, b"config.json"])
def test_other_kinds_are_type_errors(config: Any) -> None:
    with pytest.raises(RopeScaleTypeError, match=r"config: .*got \w+"):
        read(config)


def test_tensors_in_a_config_are_type_errors() -> None:
    for config in (_rope(factor=torch.ones(2)), _rope(beta_fast=torch.ones(2)),
                   _rope(mscale=torch.ones(2)), {**YARN, "head_dim": torch.ones(2)},
                   {**YARN, "original_max_position_embeddings": torch.ones(2)}):  # fmt: skip
        with pytest.raises(RopeScaleTypeError, match=r"tensor of shape \(2,\)"):
            read(config)


def test_object_without_keys_is_refused() -> None:
    with pytest.raises(RopeScaleConfigError, match=r"config: .*got list"):
        read(Object([1]))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[1]", "got list"),
        (b'{"rope_theta": ' + b"9" * 5000 + b"}", "JSON"),
        (b"[" * 200_000, "JSON"),
    ],
)
def test_bad_files(content: bytes, part: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(RopeScaleConfigError, match=f"config: .*{part}"):
        read(file)


def test_missing_and_huge_files(tmp_path: pathlib.Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.json", "a\0b"):
        with pytest.raises(RopeScaleConfigError, match="config: "):
            read(path)
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(2**27)
    with pytest.raises(RopeScaleConfigError, match="134217728 bytes"):
        read(tmp_path)


class Unread(list[float]):
    """A list whose entries nobody may look at."""

    def __iter__(self) -> Any:
        raise AssertionError("entries were read")

    __getitem__ = __repr__ = __iter__  # type: ignore[assignment]


@pytest.mark.parametrize(
    "config",
    [
        _rope(rope_type="longrope", short_factor=Unread([1.0] * 10**6)),
        _rope(short_factor=Unread([1.0] * 10**6)),
        _rope(mrope_section=Unread([0] * 10**6)),
        _rope(factor=Unread([0] * 10**6)),
        _rope(rope_type="x" * 10**7),
        _rope(factor="9" * 10**7),
        {**YARN, "rope_scaling": {**ROPE, **{f"key{j}": j for j in range(10**5)}}},
    ],
)
def test_huge_values_are_not_read_and_messages_stay_short(config: dict[str, Any]) -> None:
    with pytest.raises(RopeScaleConfigError) as error:
        read(config, strict=True)
    # A name, a requirement that may list all rules, and a value cut at 120 characters.
    assert len(str(error.value)) < 500


def test_warnings_about_many_keys_are_few() -> None:
    config = {**YARN, "rope_scaling": {**ROPE, **{f"key{j}": j for j in range(10**4)}}}
    with pytest.warns(RopeScaleWarning) as caught:
        read(config)
    assert len(caught) == 9
    assert "9992 more" in str(caught[-1].message)
