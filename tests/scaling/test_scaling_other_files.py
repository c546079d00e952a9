"""Files and names that are given in place of a model's config: the error says what to give."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.errors import RopeScaleConfigError
from ropescale_kernels.planner.inspect import inspect_config
from ropescale_kernels.scaling import RopeScaling

BESIDE = "Give the config.json beside it"
# The keys of a file, and words of the error.
KEYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "adapter": (
        {"base_model_name_or_path": "Qwen/Qwen3-8B", "peft_type": "LORA", "r": 8},
        ("adapter_config.json", "Give the config of its base model, 'Qwen/Qwen3-8B'."),
    ),
    "adapter of nothing": ({"peft_type": "LORA"}, ("Give the config of its base model.",)),
    "index": ({"metadata": {}, "weight_map": {}}, ("index of weights", BESIDE)),
    "Meta": (
        {"dim": 4096, "n_layers": 32, "n_heads": 32, "rope_theta": 5e5, "use_scaled_rope": True},
        ("params.json", "that the same model has for Transformers"),
    ),
    "Mistral": (
        {"dim": 4096, "n_layers": 32, "head_dim": 128, "n_heads": 32, "rope_theta": 1e6},
        ("params.json", "that the same model has for Transformers"),
    ),
    "rope parameters": (
        {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6},
        ("rope parameters alone", "Give the whole config"),
    ),
    "old rope parameters": ({"type": "yarn", "factor": 4.0}, ("rope parameters alone",)),
    "quantisation": ({"bits": 4, "group_size": 128}, ("quantize_config.json", BESIDE)),
    "tokenizer": ({"added_tokens": [], "pre_tokenizer": {}}, ("tokenizer.json", BESIDE)),
    "tokenizer's config": (
        {"model_max_length": 131072, "tokenizer_class": "Qwen2Tokenizer"},
        ("tokenizer_config.json", BESIDE),
    ),
    "tokens": ({"bos_token": "<s>"}, ("special_tokens_map.json", BESIDE)),
    "preprocessor": ({"image_processor_type": "X"}, ("preprocessor_config.json", BESIDE)),
    "generation": (
        {"bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "temperature": 0.6},
        ("generation_config.json", BESIDE),
    ),
    "generation of a model": (
        {"eos_token_id": 2, "transformers_version": "4.31.0"},
        ("generation_config.json", BESIDE),
    ),
    "nothing": ({}, ("got {}",)),
}
# The content of a file, and words of the error.
CONTENT: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("an empty file",)),
    "white space": (b" \n", ("an empty file",)),
    "a mark alone": (b"\xef\xbb\xbf", ("an empty file",)),
    "GGUF": (b"GGUF" + struct.pack("<IQQ", 3, 1, 1), ("a GGUF file", "was made from")),
    "GGUF cut short": (b"GGUF", ("a GGUF file",)),
    "safetensors": (struct.pack("<Q", 20) + b'{"a": {"dtype"', ("safetensors", BESIDE)),
    "archive": (b"PK\x03\x04\x00", ("an archive", BESIDE)),
    "pickle": (b"\x80\x02}q\x00.", ("a pickle", BESIDE)),
    "LFS": (b"version https://git-lfs\noid sha256:0\n", ("Git LFS", "git lfs pull")),
    "page": (b"\n<!doctype html>", ("HTML", "Download the file itself")),
    "cut short": (b'{"model_type": "llama", "hid', ("JSON", "Unterminated string")),
    "a list": (b"[1]", ("got list",)),
}


@pytest.mark.parametrize("case", KEYS)
def test_the_keys_of_another_file_are_refused(case: str, tmp_path: Path) -> None:
    keys, words = KEYS[case]
    file = tmp_path / "some.json"
    file.write_text(json.dumps(keys))
    for config in (keys, file):
        with pytest.raises(RopeScaleConfigError, match=r"^config: expected the config of a") as got:
            RopeScaling.from_hf_config(config)
        assert all(word in str(got.value) for word in words)
    with pytest.raises(RopeScaleConfigError, match=r"^config: expected the config of a"):
        inspect_config(keys)


@pytest.mark.filterwarnings("ignore::ropescale_kernels.errors.RopeScaleWarning")
def test_such_keys_beside_those_of_a_model_are_no_other_file() -> None:
    model = {"model_type": "llama", "head_dim": 64}
    for keys, _ in KEYS.values():
        assert RopeScaling.from_hf_config({**keys, **model}).rotary_dim == 64


@pytest.mark.parametrize("case", CONTENT)
def test_content_that_is_no_config_is_named(case: str, tmp_path: Path) -> None:
    content, words = CONTENT[case]
    # A long path takes no word out of the message.
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    (folder / "config.json").write_bytes(content)
    with pytest.raises(RopeScaleConfigError, match=r"^config: expected") as got:
        RopeScaling.from_hf_config(folder)
    assert all(word in str(got.value) for word in words)


def test_large_weights_are_named_before_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    with file.open("wb") as opened:
        opened.write(b"GGUF")
        opened.truncate(2**27)
    with pytest.raises(RopeScaleConfigError, match="a GGUF file"):
        RopeScaling.from_hf_config(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_changes_nothing(encoding: str, tmp_path: Path) -> None:
    keys = {"head_dim": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    file = tmp_path / "config.json"
    file.write_bytes(json.dumps(keys).encode(encoding))
    assert RopeScaling.from_hf_config(file) == RopeScaling.from_hf_config(keys)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("Qwen/Qwen3-8B", "huggingface_hub.hf_hub_download('Qwen/Qwen3-8B', 'config.json')"),
        ("https://example.org/config.json", "Download the file first."),
        ('{"model_type": "llama"}', "JSON text is passed as json.loads(text)."),
        ("gpt2", ""),
        ("Qwen3-8B/config.json", ""),
        ("no/such/folder", ""),
        ("", ""),
    ],
)
def test_names_that_are_no_path(
    path: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RopeScaleConfigError, match=r"^config: expected the path of a JSON") as got:
        RopeScaling.from_hf_config(path)
    assert (path or "''") in str(got.value)
    assert hint in str(got.value)
    assert hint or str(got.value).endswith(path or "''")
    assert "hf_hub_download" in hint or "hf_hub_download" not in str(got.value)


def test_a_missing_file_of_a_folder_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RopeScaleConfigError, match=r"got models/Qwen3-8B$"):
        RopeScaling.from_hf_config("models/Qwen3-8B")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("adapter_config.json", "give the folder of the base model"),
        ("params.json", "give the config.json for Transformers"),
        ("model_index.json", "give the folder of the text model inside it"),
        ("readme.txt", "{}"),
    ],
)
def test_a_folder_without_a_config_says_what_it_holds(name: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(RopeScaleConfigError, match="a folder without one") as got:
        RopeScaling.from_hf_config(tmp_path)
    assert str(got.value).rstrip(".").endswith(hint.format(tmp_path))
