"""Keys of a config that have no effect, and the notes about them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from ...errors import expected
from .. import validate as check
from ..rules import rope_keys
from ..rules.rule import ConfigRule
from .model_config import ModelConfig
from .model_types.table import UNKNOWN
from .rope_entry import RopeEntry

# An untrusted config may hold any number of keys; so many are named.
_SHOWN_KEYS = 8
# Rope parameters that every rule has, and those of the base, which some dialects read elsewhere.
_RULE_KEYS = frozenset({"rope_type", "type", "mrope_section", "mrope_interleaved"})
_BASE_KEYS = frozenset({"rope_theta", "partial_rotary_factor"})
_ORIGINAL = "original_max_position_embeddings"
# A top-level key is about rotation if its name has one of these words, or if it is a rope
# parameter. Keys that a model uses outside the rotation are in its row of the table of model types.
_ROTARY_WORDS = frozenset({"rope", "mrope", "rotary", "yarn"})
# Values of such keys that state the default, so no warning is due.
_FLAGS_AT_DEFAULT = {
    "use_rope": True,
    "use_rotary_pos_emb": True,
    "rotary": True,
    "use_mrope": False,
}
_TOP_LEVEL = frozenset(
    {
        "rope_scaling",
        "rope_parameters",
        "qk_rope_head_dim",
        # Which layers rotate: a model's own code decides that.
        "no_rope_layers",
        "no_rope_layer_interval",
        # Order of the pairs: `interleaved` of a call, and no part of a scaling.
        "rope_interleave",
        "rope_interleaved",
    }
)


def find_ignored(model: ModelConfig, entry: RopeEntry, rule: ConfigRule) -> frozenset[str]:
    """Add the keys without an effect to the entry's `ignored`, and return the keys with one.

    Args:
        model: The model's config.
        entry: The rope parameters of one layer type; the rule has read them.
        rule: How the dialect reads their rule.
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
    entry.ignored.extend(
        (f"{entry.config_key}[{check.shown(key)}]", value) for key, value in ignored
    )
    own = {entry.model.theta_key, entry.model.rotary_fraction_key, entry.model.rotary_dim_key}
    own |= entry.model.unrelated_top_level_keys
    own |= {layer.theta_key or "" for layer in entry.model.layers.values()}
    length = entry.config.get(_ORIGINAL)
    if _ORIGINAL in rule.keys(entry) or length == entry.config.get("max_position_embeddings"):
        # The rule reads L at the top level too, or L repeats max_position_embeddings.
        own |= {_ORIGINAL}
    entry.ignored.extend(
        (key, value) for key, value in _rotary(entry.config) if key not in _TOP_LEVEL | own
    )
    if model.has_text_config:
        # No dialect reads a rotary key beside the text model's own config. A key that repeats the
        # text model's own is no loss.
        entry.ignored.extend(
            (key, value)
            for key, value in _rotary(model.whole)
            if entry.config.get(key) != value and key not in entry.model.unrelated_top_level_keys
        )
    return known | _TOP_LEVEL


def ignored_key_warnings(entry: RopeEntry, known: Collection[str]) -> list[str]:
    """Return one warning for each of the first ignored keys.

    Args:
        entry: The rope parameters, after `find_ignored`.
        known: Keys that would have an effect, one of which may have been meant.
    """
    name = entry.dialect.name
    requirement = f"a key that dialect {name!r} reads for rope_type {entry.rope_type!r}"
    effect = "It has no effect."
    if entry.model is UNKNOWN and entry.model_type:
        effect = f"It has no effect here; whether {entry.model_type} reads it is not known."
    first = list(dict(entry.ignored[: 2 * _SHOWN_KEYS]).items())[:_SHOWN_KEYS]
    return [
        expected(key, requirement, check.shown(value), f"{effect}{_suggestion(key, known)}")
        for key, value in first
    ]


def further_ignored(entry: RopeEntry) -> list[str]:
    """Return a warning with the number of ignored keys that are not named, if there are any."""
    count = len(entry.ignored) - _SHOWN_KEYS
    return [expected("config", "no other ignored keys", f"{count} more")] if count > 0 else []


def suspects(entry: RopeEntry, known: Collection[str]) -> list[str]:
    """Return the ignored keys that were likely meant to have an effect."""
    of_rules = rope_keys()
    return [key for key, _ in entry.ignored if key in of_rules or _suggestion(key, known)]


def _rotary(config: Mapping[str, object]) -> list[tuple[str, object]]:
    of_rules = rope_keys()
    return [
        (check.shown(key)[1:-1], value)
        for key, value in config.items()
        if value is not None
        and isinstance(key, str)
        and _FLAGS_AT_DEFAULT.get(key) is not value
        and (key in of_rules or not _ROTARY_WORDS.isdisjoint(key.lower().split("_")))
    ]


def _suggestion(key: str, known: Collection[str]) -> str:
    """Return a question for the key that was likely meant, or "" if no key is alike."""
    # A key inside the rope parameters stands between quotes.
    bare = key.split("'")[1] if "'" in key else key
    close = difflib.get_close_matches(bare[:100].lower(), sorted(known), n=1, cutoff=0.85)
    return f" Did you mean {close[0]!r}?" if close and close[0] != bare else ""
