"""A model's config in one dialect becomes the parameters of a scaling, and notes.

Every key is used, named in a note, or refused.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ...errors import RopeScaleConfigError, RopeScaleUnsupportedError, expected
from .. import validate as check
from ..parameters import Parameters
from ..rules import RULES, rule_of
from ..rules.rule import ConfigRule
from .assumptions import Assumption, find_assumption
from .dialects import DIALECTS, Dialect
from .ignored_keys import find_ignored, ignored_key_warnings, suspects
from .load import load_config
from .model_config import ModelConfig
from .rope_entry import RopeEntry

# Base of the frequencies if neither the config nor the class names one.
_DEFAULT_THETA = 10_000.0


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Parameters of a config's scaling, not yet checked, and notes about the config.

    Attributes:
        rope_type: Name of the rule.
        arguments: Keywords of the parameters of the rule.
        frequency_dim: D in the exponent of the frequencies, if it is not rotary_dim.
        softmax_mscale: Whether the model multiplies its softmax scale by mscale squared.
        dialect: Name of the dialect.
        notes: Warnings about the config, without the assumption.
        suspects: Ignored keys that are likely meant to have an effect.
        assumption: What is assumed of a model type that is not known; None for a known one.
    """

    rope_type: str
    arguments: dict[str, object]
    frequency_dim: int | None
    softmax_mscale: bool
    dialect: str
    notes: tuple[str, ...]
    suspects: tuple[str, ...]
    assumption: Assumption | None

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings about the config, the assumption among them if it is due."""
        due = self.assumption is not None and self.assumption.is_due
        return self.described() if due else self.notes

    def described(self) -> tuple[str, ...]:
        """Return everything to say about the config; the assumption, if there is one, is first."""
        return self.notes if self.assumption is None else (self.assumption.text, *self.notes)

    def parameters(self) -> Parameters:
        """Return the checked parameters of the scaling; nothing is derived from them.

        Values are checked here and not by `resolve`, because the notes about a config are given
        before the error of a value.

        Raises:
            RopeScaleConfigError: Naming the key and the value that describe no valid scaling.
            RopeScaleTypeError: For a tensor.
        """
        parameters = RULES[self.rope_type].parameters(**self.arguments)
        return dataclasses.replace(
            parameters,
            frequency_dim=self.frequency_dim or parameters.rotary_dim,
            softmax_mscale=self.softmax_mscale,
            dialect=self.dialect,
        )


def find_dialect(dialect: object) -> Dialect:
    """Return the dialect of a name; a `Dialect` is returned itself.

    Raises:
        RopeScaleUnsupportedError: If there is none of that name.
    """
    if isinstance(dialect, Dialect):
        return dialect
    found = DIALECTS.get(dialect) if isinstance(dialect, str) else None
    if found is None:
        raise RopeScaleUnsupportedError(
            expected("dialect", f"one of {tuple(DIALECTS)}", check.shown(dialect))
        )
    return found


def resolve(
    config: object, *, dialect: object, layer_type: str | None, seq_len: int | None, strict: bool
) -> Resolved:
    """Return the parameters of a config's scaling, not yet checked, and notes.

    Args:
        config: A mapping, a path, a config object, or a `ModelConfig`; none is changed.
        dialect: A dialect, or the name of one.
        layer_type: The entry of nested rope parameters to use.
        seq_len: Length in tokens, for rules that depend on the length.
        strict: Whether an ignored key and an assumption about the model type are errors.

    Returns:
        The parameters, and the notes. `parameters()` of the result checks values.

    Raises:
        RopeScaleConfigError: Naming the key and the value, if the config cannot be read.
        RopeScaleTypeError: If `config` is of another kind.
        RopeScaleUnsupportedError: For an unknown dialect.
    """
    reading = find_dialect(dialect)
    check.flag("strict", strict)
    if seq_len is not None:
        check.length("seq_len", seq_len, low=0)
    if layer_type is not None and not isinstance(layer_type, str):
        raise RopeScaleConfigError(expected("layer_type", "a str or None", check.shown(layer_type)))
    model = config if isinstance(config, ModelConfig) else ModelConfig(load_config(config))
    entry = model.entry(reading, layer_type)
    rule = rule_of(entry)
    rope_type, arguments = rule.read(entry, seq_len)
    head_dim = entry.rotary_head_dim()
    share = entry.rotary_share(head_dim)
    dimensions, frequency_dim = _dimensions(entry, rule, rope_type, head_dim, share)
    arguments = {
        **dimensions,
        "rope_theta": entry.get("rope_theta", entry.model.theta_key, _DEFAULT_THETA),
        **_axes(entry, dimensions["rotary_dim"]),
        **arguments,
    }
    assumed = find_assumption(model, entry, rule, arguments, share)
    known = find_ignored(model, entry, rule, dimensions["rotary_dim"])
    ignored = ignored_key_warnings(entry, known)
    refused = [*entry.findings.losses, *ignored]
    if assumed is not None and assumed.is_due:
        refused.insert(0, assumed.refusal)
    if strict and refused:
        raise RopeScaleConfigError(refused[0])
    return Resolved(
        rope_type=rope_type,
        arguments=arguments,
        frequency_dim=frequency_dim,
        softmax_mscale=rope_type == rule.rope_type and rule.scales_softmax(entry),
        dialect=reading.name,
        notes=(*entry.findings.notes, *ignored),
        suspects=tuple(suspects(entry, known)),
        assumption=assumed,
    )


def _axes(entry: RopeEntry, rotary_dim: int) -> dict[str, object]:
    """Return the arguments for M-RoPE: how the axes of a position share the pairs."""
    section = entry.parameters.get("mrope_section")
    interleaved = entry.parameters.get("mrope_interleaved")
    interleaved = False if interleaved is None else interleaved
    axes = entry.model.axes
    if not entry.dialect.class_axes or not entry.model.known:
        return {"mrope_section": section, "mrope_interleaved": interleaved}
    if axes is None:
        given = {"mrope_section": section, "mrope_interleaved": interleaved or None}
        for key, value in given.items():
            if value is not None:
                entry.findings.ignore(f"{entry.config_key}[{key!r}]", value)
        return {}
    check.flag("mrope_interleaved", interleaved)
    if (
        entry.parameters.get("mrope_interleaved") is not None
        and interleaved is not axes.interleaved
    ):
        requirement = f"{axes.interleaved}, as in the class of {entry.model_type}"
        hint = "It has no effect."
        entry.findings.note(expected("mrope_interleaved", requirement, interleaved, hint))
    if section is None and 2 * sum(axes.section) == rotary_dim:
        section = axes.section
    return {"mrope_section": section, "mrope_interleaved": axes.interleaved}


def _dimensions(
    entry: RopeEntry,
    rule: ConfigRule,
    rope_type: str,
    head_dim: int,
    named_share: tuple[str, float],
) -> tuple[dict[str, Any], int | None]:
    name, share = named_share
    unnamed = entry.model.needs_head_dim and entry.top_level("head_dim") is None
    if unnamed and rule.needs_head_dim and entry.dialect.name == "hf":
        requirement = f"{head_dim}, without which Transformers fails on a {entry.model_type} model"
        entry.findings.note(expected("head_dim", requirement, "no such key"))
    if rule.takes_share:
        return {"rotary_dim": head_dim, "partial_rotary_factor": share}, None
    everywhere = entry.dialect.partial_in_default or entry.model.partial_in_default
    if rope_type == "default" and share != 1 and not everywhere:
        requirement = f"1 in a {entry.model_type} model without scaling, which rotates whole heads"
        entry.findings.note(expected(name, requirement, share, "It has no effect."))
        share = 1.0
    dim = int(head_dim * share)
    if dim == head_dim and dim % 2:
        raise RopeScaleConfigError(
            expected(entry.rotary_head_dim_name(), "even channels", head_dim)
        )
    if dim % 2 == 0:
        if dim < 2:
            requirement = f"a share of at least 2 of {head_dim} channels"
            raise RopeScaleConfigError(expected(name, requirement, share))
        return {"rotary_dim": dim}, None
    # An odd D stays in the exponent. Every even number below D has a pair.
    if not rule.takes_odd_share or dim < 3:
        requirement = f"a share of {head_dim} channels that is even for this rope_type"
        raise RopeScaleConfigError(expected(name, requirement, share))
    return {"rotary_dim": dim + 1}, dim
