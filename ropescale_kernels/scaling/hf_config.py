"""Dialect "hf": from a model's config to the constructor call it stands for.

The reading of every key follows Transformers 5: precedence, defaults, and which keys it ignores.
Ignored keys become warnings. Values are checked by the constructors, whose arguments have the
names of the config's keys, so that their messages name the key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from itertools import islice

from ropescale_kernels.errors import (
    RopeScaleConfigError,
    RopeScaleUnsupportedError,
    expected,
)
from ropescale_kernels.scaling import _validate as check
from ropescale_kernels.scaling.config_file import load_config
from ropescale_kernels.scaling.rope_entry import RopeEntry, find_rope_entry

DIALECTS = ("hf",)

# A raw config names no base where its class has this one.
_DEFAULT_THETA = 10_000.0
# An untrusted config may hold any number of keys; so many are named.
_NOTES = 8
_COMMON_KEYS = frozenset(
    (
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "mrope_section",
        "mrope_interleaved",
    )
)


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A constructor call, and what to say about the config.

    Attributes:
        constructor: Name of a constructor of `RopeScaling`.
        arguments: Its keyword arguments.
        frequency_dim: D in the exponent of the frequencies, where it is not rotary_dim.
        softmax_mscale: Whether the model multiplies its softmax scale by mscale squared.
        notes: Warnings about the config.
    """

    constructor: str
    arguments: dict[str, object]
    frequency_dim: int | None
    softmax_mscale: bool
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class _Rule:
    constructor: str
    keys: frozenset[str]
    arguments: Callable[[RopeEntry, int | None], dict[str, object]]
    takes_odd_share: bool = True


def resolve(
    config: object, *, dialect: str, layer_type: str | None, seq_len: int | None, strict: bool
) -> Resolved:
    """Return the constructor call that a config stands for.

    Args:
        config: A mapping, a path, or a config object; it is not changed.
        dialect: Whose reading of the keys to follow.
        layer_type: Which entry of nested rope parameters to use.
        seq_len: Length in tokens, for rules that follow it.
        strict: Whether an ignored key is an error.

    Returns:
        The call, and warnings to give.

    Raises:
        RopeScaleConfigError: Naming the key and the value, if they describe no valid scaling.
        RopeScaleTypeError: If `config` is of another kind.
        RopeScaleUnsupportedError: For an unknown dialect.
    """
    if dialect not in DIALECTS:
        raise RopeScaleUnsupportedError(
            expected("dialect", f"one of {DIALECTS}", check.shown(dialect))
        )
    check.flag("strict", strict)
    entry = find_rope_entry(load_config(config), layer_type)
    rule = _RULES.get(entry.rope_type)
    if rule is None:
        requirement = f"one of {sorted(_RULES)}"
        raise RopeScaleConfigError(expected("rope_type", requirement, check.shown(entry.rope_type)))
    _report_ignored(entry, rule, strict)
    arguments, frequency_dim = _dimensions(entry, rule)
    arguments["rope_theta"] = entry.get("rope_theta", entry.model.theta_key, _DEFAULT_THETA)
    arguments["mrope_section"] = entry.values.get("mrope_section")
    arguments["mrope_interleaved"] = entry.values.get("mrope_interleaved", False)
    arguments.update(rule.arguments(entry, seq_len))
    softmax_mscale = rule.constructor == "yarn" and entry.model.softmax_mscale
    return Resolved(rule.constructor, arguments, frequency_dim, softmax_mscale, entry.notes)


def _report_ignored(entry: RopeEntry, rule: _Rule, strict: bool) -> None:
    known = _COMMON_KEYS | rule.keys | entry.model.own_keys
    ignored = {key: value for key, value in entry.values.items() if key not in known}
    if entry.outer is not None:
        ignored |= {
            key: value
            for key, value in entry.outer.items()
            if not isinstance(value, Mapping) and value is not None and key not in rule.keys
        }
        if "truncate" in rule.keys and "truncate" in entry.values:
            ignored["truncate"] = entry.values["truncate"]
    for key, value in islice(ignored.items(), _NOTES):
        requirement = f"a key that dialect 'hf' reads for rope_type {entry.rope_type!r}"
        message = expected(
            f"rope_parameters[{key!r}]", requirement, check.shown(value), "It has no effect."
        )
        if strict:
            raise RopeScaleConfigError(message)
        entry.notes.append(message)
    if len(ignored) > _NOTES:
        got = f"{len(ignored) - _NOTES} more"
        entry.notes.append(expected("rope_parameters", "no other ignored keys", got))


def _dimensions(entry: RopeEntry, rule: _Rule) -> tuple[dict[str, object], int | None]:
    head_dim = entry.head_dim()
    name = entry.model.partial_key
    share = check.proportion(name, entry.get("partial_rotary_factor", name, 1.0))
    if rule.constructor == "proportional":
        return {"rotary_dim": head_dim, "partial_rotary_factor": share}, None
    if rule.constructor == "default" and share != 1 and not entry.model.partial_in_default:
        requirement = f"1 in a {entry.model_type} model without scaling, which rotates whole heads"
        entry.notes.append(expected(name, requirement, share, "It has no effect."))
        share = 1.0
    dim = int(head_dim * share)
    if dim == head_dim or dim % 2 == 0:
        if dim < 2:
            requirement = f"a share of at least 2 of {head_dim} channels"
            raise RopeScaleConfigError(expected(name, requirement, share))
        return {"rotary_dim": dim}, None
    # An odd D stays in the exponent and has a pair for every even number below it.
    if not rule.takes_odd_share or dim < 3:
        requirement = f"a share of {head_dim} channels that is even for this rope_type"
        raise RopeScaleConfigError(expected(name, requirement, share))
    return {"rotary_dim": dim + 1}, dim


def _factor(entry: RopeEntry) -> dict[str, object]:
    if "factor" not in entry.values:
        requirement = f"a number for rope_type {entry.rope_type!r}"
        raise RopeScaleConfigError(expected("factor", requirement, "no such key"))
    return {"factor": entry.values["factor"]}


def _linear(entry: RopeEntry, seq_len: int | None) -> dict[str, object]:
    return _factor(entry)


def _dynamic(entry: RopeEntry, seq_len: int | None) -> dict[str, object]:
    return {
        **_factor(entry),
        "max_position_embeddings": entry.require("max_position_embeddings"),
        "seq_len": seq_len,
    }


def _yarn(entry: RopeEntry, seq_len: int | None) -> dict[str, object]:
    values = entry.values
    length = entry.original_length()
    factor = _factor(entry)["factor"]
    if factor is None:
        name = "max_position_embeddings"
        factor = check.length(name, entry.require(name)) / length
    entry.compare_lengths(check.scale_factor(factor), length)
    betas = {"beta_fast": 32.0, "beta_slow": 1.0}
    for name, default in betas.items():
        given = values.get(name)
        if given is None:
            continue
        betas[name] = check.non_negative(name, given) or default
        if given == 0:
            hint = f"Dialect 'hf' takes {default!r} instead."
            entry.notes.append(expected(name, "a number above 0", given, hint))
    mscales = {
        name: None if values.get(name) is None else check.non_negative(name, values[name])
        for name in ("mscale", "mscale_all_dim")
    }
    if bool(mscales["mscale"]) != bool(mscales["mscale_all_dim"]):
        hint = "A single one has no effect on q and k."
        entry.notes.append(expected("mscale and mscale_all_dim", "both or none", mscales, hint))
    # Transformers looks for truncate beside the layer types, not inside one.
    truncate = (values if entry.outer is None else entry.outer).get("truncate", True)
    return {
        "factor": factor,
        "original_max_position_embeddings": length,
        "attention_factor": values.get("attention_factor"),
        "truncate": truncate,
        **betas,
        **mscales,
    }


def _llama3(entry: RopeEntry, seq_len: int | None) -> dict[str, object]:
    names = ("low_freq_factor", "high_freq_factor")
    for name in names:
        if name not in entry.values:
            raise RopeScaleConfigError(
                expected(name, "a number for rope_type 'llama3'", "no such key")
            )
    return {
        **_factor(entry),
        "original_max_position_embeddings": entry.original_length(),
        **{name: entry.values[name] for name in names},
    }


def _longrope(entry: RopeEntry, seq_len: int | None) -> dict[str, object]:
    names = ("short_factor", "long_factor", "factor", "attention_factor")
    length = entry.original_length()
    if (factor := entry.values.get("factor")) is not None:
        entry.compare_lengths(check.scale_factor(factor), length)
    return {
        **{name: entry.values.get(name) for name in names},
        "original_max_position_embeddings": length,
        "max_position_embeddings": entry.top("max_position_embeddings"),
        "seq_len": seq_len,
    }


def _proportional(entry: RopeEntry, seq_len: int | None) -> dict[str, object]:
    return {"factor": entry.values.get("factor", 1.0)}


def _default(entry: RopeEntry, seq_len: int | None) -> dict[str, object]:
    return {}


def _keys(*names: str) -> frozenset[str]:
    return frozenset(names)


_RULES: dict[str, _Rule] = {
    "default": _Rule("default", _keys(), _default),
    "linear": _Rule("linear", _keys("factor"), _linear),
    "dynamic": _Rule("dynamic_ntk", _keys("factor"), _dynamic),
    "yarn": _Rule(
        "yarn",
        _keys(
            "factor",
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        ),
        _yarn,
        takes_odd_share=False,
    ),
    "llama3": _Rule(
        "llama3",
        _keys("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
        _llama3,
    ),
    "longrope": _Rule(
        "longrope",
        _keys(
            "factor",
            "original_max_position_embeddings",
            "attention_factor",
            "short_factor",
            "long_factor",
        ),
        _longrope,
        takes_odd_share=False,
    ),
    "proportional": _Rule("proportional", _keys("factor"), _proportional),
}
