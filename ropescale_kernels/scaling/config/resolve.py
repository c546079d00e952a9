"""From a model's config, in one dialect, to the parameters of its scaling and the notes about it.

Every key is used, named in a note, or refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...errors import RopeScaleConfigError, RopeScaleUnsupportedError, expected
from .. import validate as check
from .._blend_constructors import BlendConstructors
from .._constructors import S
from ..parameters import Parameters
from .dialects import DIALECTS, Dialect
from .load import load_config
from .model_config import ModelConfig
from .model_types.table import UNKNOWN
from .readings import Rule, rule_of
from .rope_entry import RopeEntry, suggestion
from .yarn_reading import reads_truncate_beside, scales_softmax

# A raw config names no base where its class has this one.
_DEFAULT_THETA = 10_000.0
# An untrusted config may hold any number of keys; so many are named.
_SHOWN_KEYS = 8
_RULE_KEYS = frozenset({"rope_type", "type", "mrope_section", "mrope_interleaved"})
_BASE_KEYS = frozenset({"rope_theta", "partial_rotary_factor"})
_ORIGINAL = "original_max_position_embeddings"
# Top-level keys with these words in their names are about rotation, and so are rope parameters that
# stand there; a model's own are in its row of `model_types`.
_ROTARY_WORDS = frozenset({"rope", "mrope", "rotary", "yarn"})
# What they say where it goes without saying.
_FLAGS_AT_DEFAULT = {
    "use_rope": True,
    "use_rotary_pos_emb": True,
    "rotary": True,
    "use_mrope": False,
}
_ROPE_KEYS = frozenset(
    {"factor", "attention_factor", "attn_factor", "mscale", "mscale_all_dim", "beta_fast",
     "beta_slow", "truncate", "mrope_section", "mrope_interleaved", "low_freq_factor",
     "high_freq_factor", "short_factor", "long_factor", _ORIGINAL}
)  # fmt: skip
_TOP_LEVEL = frozenset(
    {
        "rope_scaling",
        "rope_parameters",
        "qk_rope_head_dim",
        # Which layers rotate, which is the model's to know.
        "no_rope_layers",
        "no_rope_layer_interval",
        # The order of the pairs, which is `interleaved` at the call and no part of a scaling.
        "rope_interleave",
        "rope_interleaved",
    }
)


class _CheckedParameters(BlendConstructors):
    """The named constructors of `RopeScaling` without what it derives: checked parameters."""

    __slots__ = ("parameters",)

    parameters: Parameters

    @classmethod
    def _from_parameters(cls: type[S], parameters: Parameters) -> S:
        self = object.__new__(cls)
        object.__setattr__(self, "parameters", parameters)
        return self


@dataclasses.dataclass(frozen=True)
class Resolved:
    """What a config resolves to.

    Attributes:
        constructor: Name of a constructor of `RopeScaling`.
        arguments: Its keyword arguments.
        frequency_dim: D in the exponent of the frequencies, if it is not rotary_dim.
        softmax_mscale: Whether the model multiplies its softmax scale by mscale squared.
        dialect: Name of the dialect.
        notes: Warnings about the config.
        suspects: Ignored keys that are likely suggestion to have an effect.
    """

    constructor: str
    arguments: dict[str, object]
    frequency_dim: int | None
    softmax_mscale: bool
    dialect: str
    notes: tuple[str, ...]
    suspects: tuple[str, ...]

    def parameters(self) -> Parameters:
        """Return the checked parameters of the scaling; nothing is derived from them.

        Values are checked here and not by `resolve`, because the notes about a config are given
        before the error of a value.

        Raises:
            RopeScaleConfigError: Naming the key and the value that describe no valid scaling.
            RopeScaleTypeError: For a tensor.
        """
        constructor = getattr(_CheckedParameters, self.constructor)
        checked: _CheckedParameters = constructor(**self.arguments)
        return dataclasses.replace(
            checked.parameters,
            frequency_dim=self.frequency_dim or checked.parameters.rotary_dim,
            softmax_mscale=self.softmax_mscale,
            dialect=self.dialect,
        )


def find_dialect(dialect: object) -> Dialect:
    """Return a dialect by its name, or as it is.

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
    """Return what a config resolves to.

    Args:
        config: A mapping, a path, a config object, or a config read before; it is not changed.
        dialect: Whose reading of the keys to follow.
        layer_type: Which entry of nested rope parameters to use.
        seq_len: Length in tokens, for rules that follow it.
        strict: Whether an ignored key is an error.

    Returns:
        The unchecked parameters, and the notes.

    Raises:
        RopeScaleConfigError: Naming the key and the value, if the config cannot be read.
        RopeScaleTypeError: If `config` is of another kind.
        RopeScaleUnsupportedError: For an unknown dialect.
    """
    reading = find_dialect(dialect)
    check.flag("strict", strict)
    if seq_len is not None:
        check.length("seq_len", seq_len, low=0)
    loaded = config if isinstance(config, ModelConfig) else load_config(config)
    if layer_type is not None and not isinstance(layer_type, str):
        raise RopeScaleConfigError(expected("layer_type", "a str or None", check.shown(layer_type)))
    model = loaded if isinstance(loaded, ModelConfig) else ModelConfig(loaded)
    entry = model.entry(reading, layer_type)
    rule = rule_of(entry)
    constructor, arguments = rule.read(entry, seq_len)
    dimensions, frequency_dim = _dimensions(entry, rule, constructor)
    arguments = {
        **dimensions,
        "rope_theta": entry.get("rope_theta", entry.model.theta_key, _DEFAULT_THETA),
        **_axes(entry, dimensions["rotary_dim"]),
        **arguments,
    }
    known = _report_ignored(entry, rule)
    if model.has_text_config:
        # Beside a text model's own config nobody looks for them; what repeats it is no loss.
        entry.ignored.extend(
            (key, value)
            for key, value in _rotary(model.whole)
            if entry.config.get(key) != value and key not in entry.model.unrelated_top_level_keys
        )
    ignored = entry.ignored_key_warnings(_SHOWN_KEYS, known)
    if strict and ignored:
        raise RopeScaleConfigError(ignored[0])
    notes = entry.notes + ignored
    if len(entry.ignored) > _SHOWN_KEYS:
        got = f"{len(entry.ignored) - _SHOWN_KEYS} more"
        notes.append(expected("config", "no other ignored keys", got))
    softmax_mscale = constructor == "yarn" and scales_softmax(entry)
    suspects = [key for key, _ in entry.ignored if key in _ROPE_KEYS or suggestion(key, known)]
    return Resolved(
        constructor,
        arguments,
        frequency_dim,
        softmax_mscale,
        reading.name,
        tuple(notes),
        tuple(suspects),
    )


def _axes(entry: RopeEntry, rotary_dim: int) -> dict[str, object]:
    """Return how the axes of a multimodal position share the pairs."""
    section = entry.parameters.get("mrope_section")
    interleaved = entry.parameters.get("mrope_interleaved")
    interleaved = False if interleaved is None else interleaved
    axes = entry.model.axes
    if not entry.dialect.class_axes or entry.model is UNKNOWN:
        return {"mrope_section": section, "mrope_interleaved": interleaved}
    if axes is None:
        given = {"mrope_section": section, "mrope_interleaved": interleaved or None}
        entry.ignored.extend(
            (f"{entry.config_key}[{key!r}]", value)
            for key, value in given.items()
            if value is not None
        )
        return {}
    check.flag("mrope_interleaved", interleaved)
    if (
        entry.parameters.get("mrope_interleaved") is not None
        and interleaved is not axes.interleaved
    ):
        requirement = f"{axes.interleaved}, as in the class of {entry.model_type}"
        hint = "It has no effect."
        entry.notes.append(expected("mrope_interleaved", requirement, interleaved, hint))
    if section is None and 2 * sum(axes.section) == rotary_dim:
        section = axes.section
    return {"mrope_section": section, "mrope_interleaved": axes.interleaved}


def _report_ignored(entry: RopeEntry, rule: Rule) -> frozenset[str]:
    known = _RULE_KEYS | rule.keys(entry) | entry.model.unrelated_keys
    known |= _BASE_KEYS if entry.reads_base_inside() else frozenset()
    ignored = [(key, value) for key, value in entry.parameters.items() if key not in known]
    if entry.by_layer_type is not None:
        beside = {"truncate"} if entry.rope_type == "yarn" and reads_truncate_beside(entry) else ()
        ignored += [
            (key, value)
            for key, value in entry.by_layer_type.items()
            if not isinstance(value, Mapping) and value is not None and key not in beside
        ]
    entry.ignored.extend(
        (f"{entry.config_key}[{check.shown(key)}]", value) for key, value in ignored
    )
    model = entry.model
    own = {
        model.theta_key,
        model.rotary_fraction_key,
        model.rotary_dim_key,
        *model.unrelated_top_level_keys,
    }
    own |= {layer.theta_key or "" for layer in model.layers.values()}
    length = entry.config.get(_ORIGINAL)
    if _ORIGINAL in rule.keys(entry) or length == entry.config.get("max_position_embeddings"):
        # Read at the top level too; or it says the same twice.
        own |= {_ORIGINAL}
    strangers = _rotary(entry.config)
    entry.ignored.extend((key, value) for key, value in strangers if key not in _TOP_LEVEL | own)
    return known | _TOP_LEVEL


def _rotary(config: Mapping[str, object]) -> list[tuple[str, object]]:
    return [
        (check.shown(key)[1:-1], value)
        for key, value in config.items()
        if value is not None
        and isinstance(key, str)
        and _FLAGS_AT_DEFAULT.get(key) is not value
        and (key in _ROPE_KEYS or not _ROTARY_WORDS.isdisjoint(key.lower().split("_")))
    ]


def _dimensions(
    entry: RopeEntry, rule: Rule, constructor: str
) -> tuple[dict[str, Any], int | None]:
    head_dim = entry.rotary_head_dim()
    unnamed = entry.model.needs_head_dim and entry.top_level("head_dim") is None
    if unnamed and constructor in ("yarn", "longrope") and entry.dialect.name == "hf":
        requirement = f"{head_dim}, without which Transformers fails on a {entry.model_type} model"
        entry.notes.append(expected("head_dim", requirement, "no such key"))
    name = entry.model.rotary_fraction_key
    given = entry.get("partial_rotary_factor", name, None)
    if given is None and (channels := entry.top_level(entry.model.rotary_dim_key)) is not None:
        name = entry.model.rotary_dim_key
        given = check.dimension(name, channels) / head_dim
    share = check.proportion(name, 1.0 if given is None else given)
    if constructor == "proportional":
        return {"rotary_dim": head_dim, "partial_rotary_factor": share}, None
    everywhere = entry.dialect.partial_in_default or entry.model.partial_in_default
    if constructor == "default" and share != 1 and not everywhere:
        requirement = f"1 in a {entry.model_type} model without scaling, which rotates whole heads"
        entry.notes.append(expected(name, requirement, share, "It has no effect."))
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
    # An odd D stays in the exponent and has a pair for every even number below it.
    if not rule.takes_odd_share or dim < 3:
        requirement = f"a share of {head_dim} channels that is even for this rope_type"
        raise RopeScaleConfigError(expected(name, requirement, share))
    return {"rotary_dim": dim + 1}, dim
