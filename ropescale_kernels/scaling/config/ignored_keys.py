"""Keys of a config that have no effect, and the notes about them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from ...errors import expected
from .. import validate as check
from ..rules import rope_keys
from ..rules.rule import ConfigRule
from .model_config import ModelConfig
from .model_types.trained_lengths import ORIGINAL_KEY
from .rope_entry import RopeEntry
from .rope_words import ALWAYS, rope_like

# The first keys have a warning each, and so many more are named in one warning.
_LISTED_KEYS = 32
# Rope parameters that every rule has, and those of the base, which some dialects read elsewhere.
_RULE_KEYS = frozenset({"rope_type", "type", "mrope_section", "mrope_interleaved"})
_BASE_KEYS = frozenset({"rope_theta", "partial_rotary_factor"})
# Keys of the rotated channels. A value that says what happens anyway is no loss.
_CHANNELS = ("qk_rope_head_dim", "rotary_dim", "rotary_ndims")
_TOP_LEVEL = frozenset(
    {
        "rope_scaling",
        "rope_parameters",
        # Which layers rotate: a model's own code decides that.
        "no_rope_layers",
        "no_rope_layer_interval",
        # Order of the pairs: `interleaved` of a call, and no part of a scaling.
        "rope_interleave",
        "rope_interleaved",
    }
)


def find_ignored(
    model: ModelConfig, entry: RopeEntry, rule: ConfigRule, rotary_dim: int
) -> frozenset[str]:
    """Add the keys without an effect to the entry's findings, and return the keys with one.

    Args:
        model: The model's config.
        entry: The rope parameters of one layer type; the rule has read them.
        rule: How the dialect reads their rule.
        rotary_dim: Number of rotated channels.
    """
    known = _RULE_KEYS | rule.keys(entry) | entry.model.unrelated_keys
    known |= _BASE_KEYS if entry.reads_base_inside() else frozenset()
    ignored = [(key, value) for key, value in entry.parameters.items() if key not in known]
    if entry.by_layer_type is not None:
        beside = rule.keys_beside_layer_types(entry)
        ignored += [
            (key, value)
            for key, value in entry.by_layer_type.items()
            if not isinstance(value, Mapping) and value is not None and key not in beside
        ]
    for key, value in ignored:
        entry.findings.ignore(f"{entry.config_key}[{check.shown(key)}]", value)
    with_effect = _TOP_LEVEL | _own_keys(entry, rule, rotary_dim)
    others = ALWAYS | rope_keys()
    for key, value in rope_like(entry.config, others):
        if key not in with_effect:
            entry.findings.ignore(key, value)
    if model.has_text_config:
        # No dialect reads a rotary key beside the text model's own config. A key that repeats the
        # text model's own is no loss.
        for key, value in rope_like(model.whole, others):
            if entry.config.get(key) != value and key not in entry.model.unrelated_top_level_keys:
                entry.findings.ignore(key, value)
    return known | _TOP_LEVEL


def _own_keys(entry: RopeEntry, rule: ConfigRule, rotary_dim: int) -> set[str]:
    """Return the top-level keys that the class reads or does not need."""
    model, config = entry.model, entry.config
    own = {model.head_dim_key, model.nope_head_dim_key, *model.layer_head_dim_keys.values()}
    own |= model.unrelated_top_level_keys | model.own_keys()
    channels = {key: config.get(key) for key in _CHANNELS}
    own |= {key for key, x in channels.items() if isinstance(x, int) and x == rotary_dim}
    bases = {model.theta_key, *(layer.theta_key or "" for layer in model.layers.values())}
    own |= {key for key in bases if not _is_overridden(entry, "rope_theta", key)}
    share = model.rotary_fraction_key
    own |= set() if _is_overridden(entry, "partial_rotary_factor", share) else {share}
    length = config.get(ORIGINAL_KEY)
    if ORIGINAL_KEY in rule.keys(entry) or length == config.get("max_position_embeddings"):
        # The rule reads L at the top level too, or L repeats max_position_embeddings.
        own |= {ORIGINAL_KEY}
    return own


def _is_overridden(entry: RopeEntry, key: str, top_key: str) -> bool:
    """Return whether every layer type has another value of its own than the top level."""
    layers = (entry.by_layer_type or {}).values()
    values = [layer.get(key) for layer in layers if isinstance(layer, Mapping)]
    given = entry.config.get(top_key)
    # A list has a value for each layer.
    listed = isinstance(given, (list, tuple))
    return bool(values) and None not in values and not listed and given not in values


def ignored_key_warnings(entry: RopeEntry, known: Collection[str]) -> list[str]:
    """Return one warning for each of the first ignored keys, and one for all others.

    Args:
        entry: The rope parameters, after `find_ignored`.
        known: Keys that would have an effect, one of which may have been meant.
    """
    name = entry.dialect.name
    requirement = f"a key that dialect {name!r} reads for rope_type {entry.rope_type!r}"
    effect = "It has no effect."
    if not entry.model.known and entry.model_type:
        effect = f"It has no effect here; whether {entry.model_type} reads it is not known."
    ignored = [*dict(entry.findings.ignored).items()]
    warnings = [
        expected(key, requirement, check.shown(value), f"{effect}{_suggestion(key, known)}")
        for key, value in ignored[: check.SHOWN_KEYS]
    ]
    if further := ignored[check.SHOWN_KEYS :]:
        listed = [f"{key} {check.shown(value)[:40]}" for key, value in further[:_LISTED_KEYS]]
        dots = ", ..." if len(further) > _LISTED_KEYS else ""
        hint = f"They have no effect: {', '.join(listed)}{dots}."
        warnings.append(expected("config", "no other ignored keys", f"{len(further)} more", hint))
    return warnings


def suspects(entry: RopeEntry, known: Collection[str]) -> list[str]:
    """Return the ignored keys that were likely meant to have an effect."""
    of_rules = rope_keys()
    ignored = entry.findings.ignored
    return [key for key, _ in ignored if key in of_rules or _suggestion(key, known)]


def _suggestion(key: str, known: Collection[str]) -> str:
    """Return a question for the key that was likely meant, or "" if no key is alike."""
    # A key inside the rope parameters stands between quotes.
    bare = key.split("'")[1] if "'" in key else key
    close = difflib.get_close_matches(bare[:100].lower(), sorted(known), n=1, cutoff=0.85)
    return f" Did you mean {close[0]!r}?" if close and close[0] != bare else ""
