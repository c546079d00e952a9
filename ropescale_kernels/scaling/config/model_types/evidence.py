"""Evidence in the keys of a config: facts about a class that the table does not have.

A fine-tune under a name of its own, or a config without `model_type`, has the keys of the class
that it comes from. The tests resolve configs of known model types without `model_type`, and hold
the result against the row of the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from .layer_keys import FULL, SLIDING
from .model_type import LayerType, ModelType
from .table import MODEL_TYPES, UNKNOWN


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Keys of a config, and the facts that they tell. A null counts as no key.

    Attributes:
        like: A model type whose configs have these keys, or "" if no class of Transformers reads
            them from a config.
        facts: Fields of `ModelType`.
        top: Top-level keys that must all be there.
        one_of: Top-level keys of which one must be there, if the tuple is not empty.
        lists: Top-level keys that must be lists, with a value for each layer.
        rope: Keys that must all be there among the rope parameters, of one layer type if the
            parameters are nested.
        rules: Names of rules, one of which must stand beside those keys, if the tuple is not empty.
    """

    like: str
    facts: Mapping[str, Any]
    top: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    rope: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    def keys(self, config: Mapping[str, object]) -> tuple[str, ...]:
        """Return the keys that tell the facts, or () if the config does not have them."""
        chosen = tuple(key for key in self.one_of if _has(config, (key,)))
        found = (
            _has(config, self.top)
            and (chosen or not self.one_of)
            and all(isinstance(config.get(key), (list, tuple)) for key in self.lists)
            and any(self._is_in(rope) for rope in _ropes(config))
        )
        return (*self.top, *chosen, *self.lists, *self.rope) if found else ()

    def _is_in(self, rope: Mapping[str, object]) -> bool:
        names = (rope.get("rope_type"), rope.get("type"))
        return _has(rope, self.rope) and (not self.rules or any(x in self.rules for x in names))


def find_evidence(config: Mapping[str, object]) -> tuple[tuple[Evidence, tuple[str, ...]], ...]:
    """Return the evidence in a text model's config; each piece comes with its keys.

    A piece is left out if a later one tells all of its facts.
    """
    found = [(piece, keys) for piece in EVIDENCE if (keys := piece.keys(config))]
    return tuple(
        (piece, keys)
        for index, (piece, keys) in enumerate(found)
        if not any(piece.facts.keys() <= later.facts.keys() for later, _ in found[index + 1 :])
    )


def facts_of(pieces: tuple[Evidence, ...]) -> ModelType:
    """Return the facts that the pieces tell; a later piece wins."""
    facts: dict[str, Any] = {}
    for piece in pieces:
        facts |= piece.facts
    return dataclasses.replace(UNKNOWN, **facts)


def _has(values: Mapping[str, object], keys: tuple[str, ...]) -> bool:
    return all(values.get(key) is not None for key in keys)


def _ropes(config: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    yield {}
    for name in ("rope_scaling", "rope_parameters"):
        given = config.get(name)
        if isinstance(given, Mapping):
            yield given
            yield from (value for value in given.values() if isinstance(value, Mapping))


def _row(like: str, *fields: str) -> dict[str, Any]:
    return {field: getattr(MODEL_TYPES[like], field) for field in fields}


_MLA = _row("deepseek_v3", "head_dim_key", "softmax_mscale")
_MISTRAL4 = _row(
    "mistral4", "head_dim_key", "nope_head_dim_key", "rotary_dim_key", "softmax_mscale"
)
_DOTS3 = _row(
    "dots3_note_text", "head_dim_key", "softmax_mscale", "layers", "main_layer",
    "layer_head_dim_keys", "flat",
)  # fmt: skip
# The class of Transformers does not read the published keys. Its conversion script does.
_MIMO = {
    "layers": {
        FULL: LayerType("rope_theta", 5e6, scaled=True),
        SLIDING: LayerType("swa_rope_theta", 1e4),
    }
}
EVIDENCE: tuple[Evidence, ...] = (
    # Other names of the channels of a head.
    Evidence("jetmoe", {"head_dim_key": "kv_channels"}, top=("kv_channels",)),
    Evidence("t5", {"head_dim_key": "d_kv"}, top=("d_kv",)),
    # DeepSeek's attention (MLA) rotates extra channels of each head.
    Evidence("deepseek_v3", _MLA, top=("qk_rope_head_dim",),
             one_of=("qk_nope_head_dim", "kv_lora_rank")),
    Evidence("mistral4", _MISTRAL4, top=("qk_rope_head_dim", "qk_nope_head_dim"),
             rope=("llama_4_scaling_beta",)),
    # A temperature of the queries, and no part of the rotation.
    Evidence("ministral3", _row("ministral3", "unrelated_keys"), rope=("llama_4_scaling_beta",)),
    # Other names of the base, of the rotated share of a head, and of the rotated channels.
    Evidence("gpt_neox", _row("gpt_neox", "theta_key"), top=("rotary_emb_base",)),
    Evidence("gpt_neox", _row("gpt_neox", "rotary_fraction_key"), top=("rotary_pct",)),
    Evidence("stablelm_epoch", {"rotary_fraction_key": "rope_pct"}, top=("rope_pct",)),
    Evidence("minimax_m2", _row("minimax_m2", "rotary_dim_key"), top=("rotary_dim",)),
    Evidence("", {"rotary_dim_key": "rotary_ndims"}, top=("rotary_ndims",)),
    # A base for each kind of layer.
    Evidence("gemma3_text", _row("gemma3_text", "layers"), top=("rope_local_base_freq",)),
    Evidence("modernbert", _row("modernbert", "layers"),
             one_of=("global_rope_theta", "local_rope_theta")),
    Evidence("mimo_v2_flash", _MIMO, top=("swa_rope_theta",)),
    Evidence("dots3_note_text", _DOTS3, top=("swa_rope_theta", "swa_qk_rope_head_dim")),
    Evidence("deepseek_v4", _row("deepseek_v4", "layers", "main_layer", "flat"),
             top=("compress_rope_theta",)),
    Evidence("step3p5", _row("step3p5", "layers", "layer_pattern"), lists=("rope_theta",)),
    Evidence("granite_swa", _row("granite_swa", "layer_theta_key"), lists=("layer_rope_theta",)),
    Evidence("gemma4_text", _row("gemma4_text", "layer_head_dim_keys"), top=("global_head_dim",)),
    # Names of rules that only some classes know.
    Evidence("qwen2_vl", _row("qwen2_vl", "aliases"), rope=("mrope_section",),
             rules=("mrope",)),
    Evidence("phi3", _row("phi3", "aliases"), rope=("short_factor", "long_factor"),
             rules=("su", "yarn")),
    Evidence("hunyuan_v1_dense", _row("hunyuan_v1_dense", "ntk_alpha"), rope=("alpha",)),
)  # fmt: skip
