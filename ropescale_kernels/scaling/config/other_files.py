"""Files that are given in place of a model's config, and what to give instead of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check

_BESIDE = "Give the config.json beside it."
# Keys of which every config of a model has one.
_MODEL_KEYS = (
    "model_type",
    "architectures",
    "text_config",
    "rope_scaling",
    "rope_parameters",
    "hidden_size",
    "num_attention_heads",
)
# The first bytes of files that are no JSON, what the file is, and the hint.
_BY_START = {
    b"GGUF": ("a GGUF file", "Give the config.json of the model that it was made from."),
    b"PK\x03\x04": ("an archive, as torch.save writes it", _BESIDE),
    b"\x80": ("a pickle, as torch.save writes it", _BESIDE),
    b"version https://git-lfs": ("a pointer of Git LFS", "Fetch the file itself: git lfs pull."),
    b"<": ("a page of HTML", "Download the file itself."),
}
# A byte-order mark of UTF-8, and white space.
_NOTHING = b"\xef\xbb\xbf \t\r\n"
# Bytes in front of the header of safetensors, which are its length.
_LENGTH = 8
_LONGEST_HEADER = 2**32
_BASE_MODEL = "base_model_name_or_path"


@dataclasses.dataclass(frozen=True)
class _OtherConfig:
    """A kind of JSON file that is no model's config.

    Attributes:
        what: What the file is.
        hint: What to give instead.
        keys: Groups of keys; the keys of one group tell the kind.
        without: Keys of which it has none.
    """

    what: str
    hint: str
    keys: tuple[frozenset[str], ...]
    without: frozenset[str] = frozenset()


def _kind(what: str, hint: str, *groups: str, without: str = "") -> _OtherConfig:
    keys = tuple(frozenset(group.split()) for group in groups)
    return _OtherConfig(what, hint, keys, frozenset(without.split()))


_ADAPTER = _kind("the config of an adapter (adapter_config.json)", "", "peft_type")
_KINDS = (
    _ADAPTER,
    _kind("an index of weights (model.safetensors.index.json)", _BESIDE, "weight_map"),
    _kind(
        "a config of Meta's or Mistral's own code (params.json)",
        "Give the config.json that the same model has for Transformers.",
        "dim n_heads n_layers",
    ),
    _kind(
        "rope parameters alone",
        "Give the whole config, which holds the sizes of the heads.",
        "rope_type",
        "type factor",
        without="head_dim qk_rope_head_dim",
    ),
    _kind(
        "settings of quantisation (quantize_config.json)",
        _BESIDE,
        "bits group_size",
        "quant_method",
    ),
    _kind("a tokenizer (tokenizer.json)", _BESIDE, "added_tokens pre_tokenizer"),
    _kind(
        "a config of a tokenizer (tokenizer_config.json)",
        _BESIDE,
        "tokenizer_class",
        "added_tokens_decoder",
    ),
    _kind(
        "a config of a preprocessor (preprocessor_config.json)",
        _BESIDE,
        "image_processor_type",
        "feature_extractor_type",
        "processor_class",
    ),
    _kind("the tokens of a tokenizer (special_tokens_map.json)", _BESIDE, "eos_token", "bos_token"),
    _kind(
        "settings of generation (generation_config.json)",
        _BESIDE,
        "_from_model_config",
        "do_sample",
        "max_new_tokens",
        "eos_token_id transformers_version",
    ),
)
# Files of a folder without config.json that tell what the folder is, and the hint.
IN_FOLDERS = {
    "adapter_config.json": "It holds an adapter: give the folder of the base model.",
    "params.json": "It holds params.json alone: give the config.json for Transformers.",
    "model_index.json": "It holds a pipeline: give the folder of the text model inside it.",
}


def refuse_no_json(content: bytes, source: str) -> None:
    """Refuse a file that is known not to be JSON.

    Args:
        content: The file, or its beginning.
        source: Name of the file in the message.

    Raises:
        RopeScaleConfigError: Saying what the file is, and what to give instead.
    """
    bare = content.lstrip(_NOTHING)
    found = ("an empty file", "") if not bare else None
    length = int.from_bytes(content[:_LENGTH], "little")
    if content[_LENGTH : _LENGTH + 1] == b"{" and length < _LONGEST_HEADER:
        found = ("weights in safetensors", _BESIDE)
    for start, kind in _BY_START.items():
        if bare.startswith(start):
            found = kind
    if found is not None:
        what, hint = found
        requirement = "the JSON of a model's config"
        raise RopeScaleConfigError(expected("config", requirement, f"{what}, {source}", hint))


def refuse_other_config(config: Mapping[str, object]) -> None:
    """Refuse the keys of a file that is known to be no model's config.

    Raises:
        RopeScaleConfigError: Saying what the file is, and what to give instead.
    """
    if any(config.get(key) is not None for key in _MODEL_KEYS):
        return
    requirement = "the config of a model"
    if not config:
        raise RopeScaleConfigError(expected("config", requirement, "{}, an object without keys"))
    names = config.keys()
    for kind in _KINDS:
        if any(keys <= names for keys in kind.keys) and kind.without.isdisjoint(names):
            hint = kind.hint
            if kind is _ADAPTER:
                base = config.get(_BASE_MODEL)
                named = "" if base is None else f", {check.shown(base)}"
                hint = f"Give the config of its base model{named}."
            raise RopeScaleConfigError(expected("config", requirement, kind.what, hint))
