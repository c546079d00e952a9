"""A model's config, read once: the text model, the model type, and the class's defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .dialects import BASELINE, DIALECTS, Dialect
from .findings import Findings
from .model_types.config_parts import DROPPED_BY_TEXT_CLASS
from .model_types.evidence import facts_of, find_evidence
from .model_types.layer_keys import HEAD_DIM_KEYS, KV_HEADS_KEYS, KV_HEADS_PART
from .model_types.table import MODEL_TYPES
from .other_files import refuse_other_config
from .rope_entry import RopeEntry
from .rope_parameters import nested_layer_types, rope_parameters, rope_type_of, select
from .submodels import (
    as_part,
    caveats,
    find_text,
    refuse_without_rope,
    subconfig_notes,
    type_of_text,
)


@dataclasses.dataclass(frozen=True)
class _Located:
    """Rope parameters of every layer type, as dialects that read the same keys find them.

    Attributes:
        config: The text model's top-level keys that are read.
        parameters: The rope parameters, flat or by layer type.
        findings: Warnings, and top-level keys that are not read.
    """

    config: Mapping[str, object]
    parameters: Mapping[str, object]
    findings: Findings


class ModelConfig:
    """A model's config, possibly multimodal.

    `entry` returns the rope parameters of a layer type in a dialect. The other methods return keys
    of the text model in dialect "hf", or the default of the model type's class for a missing key.

    Attributes:
        whole: The config as given, unchanged.
        has_text_config: Whether the text model's keys are in a part of the config.
        text_path: Keys that lead to that part, such as `text_config`; () if there is none.
        model_type: Name of the text model's type, "" if the config has none.
        facts: How the class of that model type reads a config.
        evidence: The keys that tell the facts if the model type is not known.
    """

    def __init__(self, config: Mapping[str, object]) -> None:
        """Locate the text model of a config.

        Raises:
            RopeScaleConfigError: If the text model's part is no mapping, or `model_type` no str, or
                if the keys are those of another file.
        """
        refuse_other_config(config)
        self.whole = config
        self.text_path, self._text = find_text(config)
        self.has_text_config = bool(self.text_path)
        model_type = type_of_text(config, self._text) or ""
        if not isinstance(model_type, str):
            raise RopeScaleConfigError(expected("model_type", "a str", check.shown(model_type)))
        self.model_type = model_type
        row = MODEL_TYPES.get(model_type)
        self.evidence = () if row is not None else find_evidence(self._text)
        facts = row or facts_of(tuple(piece for piece, _ in self.evidence))
        self.facts = as_part(config, self.text_path, facts)
        self._located: dict[bool, _Located] = {}

    @cached_property
    def layer_types(self) -> list[str | None]:
        """Layer types whose rope parameters differ; [None] if one entry serves all.

        Layer types without a rotary embedding are left out.

        Raises:
            RopeScaleConfigError: If the parameters are no mapping.
        """
        located = self._locate(DIALECTS[BASELINE])
        return [*nested_layer_types(located.parameters)] or [None]

    @cached_property
    def main_layer_type(self) -> str | None:
        """The layer type whose attention covers the whole context."""
        names = self.layer_types
        return self.facts.main_layer if self.facts.main_layer in names else names[0]

    @cached_property
    def rope(self) -> RopeEntry:
        """Rope parameters of the main layer type in dialect "hf"; errors as `entry`."""
        return self.entry(DIALECTS[BASELINE], self.main_layer_type)

    @classmethod
    def of(cls, config: Mapping[str, object] | ModelConfig) -> ModelConfig:
        """Return a config that is read already, or read a mapping; errors as the constructor."""
        return config if isinstance(config, ModelConfig) else cls(config)

    def entry(self, dialect: Dialect, layer_type: str | None) -> RopeEntry:
        """Return the rope parameters that one layer type uses, with new findings on each call.

        Args:
            dialect: The dialect.
            layer_type: The entry of nested parameters; flat parameters serve every layer type.

        Raises:
            RopeScaleConfigError: If the model has no rotary embedding, if the parameters are no
                mapping, if `layer_type` is None or has no entry among nested parameters, or if the
                rule has two names.
        """
        refuse_without_rope(self._text, self.model_type, self.facts)
        located = self._locate(dialect)
        parameters, by_layer_type = select(located.parameters, layer_type)
        return RopeEntry(
            config=located.config,
            dialect=dialect,
            model=self.facts,
            model_type=self.model_type,
            rope_type=rope_type_of(parameters, {**dialect.aliases, **self.facts.aliases}),
            layer_type=layer_type,
            config_key="rope_scaling" if located.config.get("rope_scaling") else "rope_parameters",
            parameters=parameters,
            by_layer_type=by_layer_type,
            findings=located.findings.copy(),
        )

    def _locate(self, dialect: Dialect) -> _Located:
        # Two dialects find other parameters only if one of them ignores the key of Transformers 5.
        reads_new_key = dialect.rope_parameters
        if reads_new_key not in self._located:
            self._located[reads_new_key] = self._find_parameters(reads_new_key)
        return self._located[reads_new_key]

    def _find_parameters(self, reads_new_key: bool) -> _Located:
        dropped: tuple[str, ...] = () if reads_new_key else ("rope_parameters",)
        if self.facts.builds_text_config and reads_new_key and not self.has_text_config:
            dropped = DROPPED_BY_TEXT_CLASS
        dropped = (*dropped, *self.facts.drops)
        ignored = [(key, self._text[key]) for key in dropped if self._text.get(key) is not None]
        text = self._text
        if dropped:
            text = {key: value for key, value in text.items() if key not in dropped}
        notes = [*subconfig_notes(self._text), *caveats(self.model_type, self.facts)]
        findings = Findings(notes=notes, ignored=ignored)
        parameters = rope_parameters(text, self.facts, findings, reads_new_key=reads_new_key)
        return _Located(text, parameters, findings)

    def get(self, key: str) -> object:
        """Return a key's value, the class's default, or None."""
        return self.rope.top_level(key)

    def anywhere(self, key: str) -> object:
        """Return a key's value of the text model, else of the whole model, or None."""
        value = self.get(key)
        return self.whole.get(key) if value is None else value

    def present(self, key: str) -> object:
        """Return a key's value.

        Raises:
            RopeScaleConfigError: If neither the config nor the class has one.
        """
        return self.rope.require(key, "an integer in the config")

    def length(self, key: str) -> int:
        """Return a positive integer.

        Raises:
            RopeScaleConfigError: If the key is missing or its value is something else.
        """
        return check.length(key, self.present(key))

    def optional_length(self, key: str) -> int | None:
        """Return a positive integer, or None if there is no such key.

        Raises:
            RopeScaleConfigError: If the value is something else.
        """
        value = self.get(key)
        return None if value is None else check.length(key, value)

    def kv_head_dim(self) -> int:
        """Return the channels of a key's head."""
        for key in HEAD_DIM_KEYS:
            if self.get(key) is not None:
                return self.length(key)
        return self.length("hidden_size") // self.length("num_attention_heads")

    def value_head_dim(self) -> int:
        """Return the channels of a value's head."""
        return self.kv_head_dim() if self.get("v_head_dim") is None else self.length("v_head_dim")

    def kv_heads(self) -> int:
        """Return the number of heads of keys and values in a layer."""
        if self.get("multi_query") is True and self.get("new_decoder_architecture") is not True:
            return 1
        for key in KV_HEADS_KEYS:
            if self.get(key) is not None:
                return self.length(key)
        part, key = KV_HEADS_PART
        inside = self.get(part)
        if isinstance(inside, Mapping) and inside.get(key) is not None:
            return check.length(key, inside[key])
        return self.length("num_attention_heads")
