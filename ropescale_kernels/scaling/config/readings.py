"""From the rope parameters of one layer type to the constructor call that they stand for.

One function per `rope_type`, named in `RULES`. Values are checked by the constructors, whose
arguments have the names of the config's keys, so that their messages name the key; what a dialect
reads otherwise is turned into those arguments here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ...errors import RopeScaleConfigError, RopeScaleUnsupportedError, expected
from .. import rules
from .. import validate as check
from .rope_entry import RopeEntry
from .yarn_reading import yarn, yarn_keys


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one `rope_type` is read.

    Attributes:
        read: From the entry and a length in tokens to a constructor's name and its arguments.
        keys: The rope parameters that it uses in the entry's dialect.
        takes_odd_share: Whether an odd number of channels may turn, rounded up to pairs.
    """

    read: Callable[[RopeEntry, int | None], tuple[str, dict[str, object]]]
    keys: Callable[[RopeEntry], frozenset[str]]
    takes_odd_share: bool = True


def _default(entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
    return "default", {}


def _linear(entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
    return "linear", {"factor": entry.parameter("factor")}


def _dynamic(entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
    kind = entry.dialect.dynamic
    alpha = entry.parameters.get("alpha") if "alpha" in _dynamic_keys(entry) else None
    if alpha is not None:
        return "ntk", {"factor": check.scale_factor(alpha, "alpha")}
    if kind == "length":
        arguments = {
            "factor": entry.parameter("factor"),
            "max_position_embeddings": entry.require("max_position_embeddings"),
            "seq_len": seq_len,
        }
        return "dynamic_ntk", arguments
    factor = check.scale_factor(entry.parameter("factor"))
    maximum = entry.maximum_length()
    if kind == "fixed_by_trained_positions":
        name = "max_trained_positions"
        trained = check.length(name, entry.parameters.get(name, maximum))
        stretch = rules.dynamic_stretch(factor, maximum, trained)
        if stretch == 1 and factor != 1:
            hint = "Nothing is scaled at any length."
            requirement = f"max_trained_positions below max_position_embeddings={maximum} beside it"
            entry.notes.append(expected("factor", requirement, f"{factor!r} alone", hint))
    else:
        stretch = rules.dynamic_stretch(factor, factor * maximum, maximum)
    return "ntk", {"factor": stretch}


def _dynamic_keys(entry: RopeEntry) -> frozenset[str]:
    kind = entry.dialect.dynamic
    alpha = ("alpha",) if kind != "length" or entry.model.ntk_alpha else ()
    trained = ("max_trained_positions",) if kind == "fixed_by_trained_positions" else ()
    return frozenset({"factor", *alpha, *trained})


def _llama3(entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
    arguments: dict[str, object] = {}
    for name, default in {"factor": 1.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}.items():
        if name not in entry.parameters and entry.dialect.optional_llama3:
            hint = f"Dialect {entry.dialect.name!r} takes {default!r}."
            entry.notes.append(expected(name, "a number", "no such key", hint))
            arguments[name] = default
        else:
            arguments[name] = entry.parameter(name)
    arguments["original_max_position_embeddings"] = entry.original_length()
    return "llama3", arguments


def _longrope(entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
    reading, key = entry.dialect.longrope, "original_max_position_embeddings"
    factor = entry.parameters.get("factor")
    if reading.factor == "top_level":
        # There L counts only beside the rope parameters, and then its ratio does.
        length = entry.maximum_length()
        if (top := entry.top_level(key)) is not None:
            factor, length = length / check.length(key, top), check.length(key, top)
    else:
        length = entry.original_length()
        if reading.factor == "ratio":
            factor = max(1.0, entry.maximum_length() / length)
        elif factor is not None:
            entry.compare_lengths(check.scale_factor(factor), length)
    if reading.long == "always" and factor is not None:
        seq_len = int(length * check.scale_factor(factor))
    attention_factor = (
        entry.parameters.get("attention_factor") if reading.attention_factor else None
    )
    if reading.mscales:
        name = "long_mscale" if seq_len is not None and seq_len > length else "short_mscale"
        attention_factor = entry.parameters.get(name)
    arguments = {
        **{name: entry.parameters.get(name) for name in ("short_factor", "long_factor")},
        "factor": factor,
        "attention_factor": attention_factor,
        "original_max_position_embeddings": length,
        "max_position_embeddings": entry.top_level("max_position_embeddings"),
        "seq_len": seq_len,
    }
    return "longrope", arguments


def _longrope_keys(entry: RopeEntry) -> frozenset[str]:
    reading = entry.dialect.longrope
    reads = {
        "short_factor": True,
        "long_factor": True,
        "factor": reading.factor == "explicit"
        or (
            reading.factor == "top_level"
            and entry.top_level("original_max_position_embeddings") is None
        ),
        "original_max_position_embeddings": reading.factor != "top_level",
        "attention_factor": reading.attention_factor,
        "short_mscale": reading.mscales,
        "long_mscale": reading.mscales,
    }
    return frozenset(key for key, read in reads.items() if read)


def _proportional(entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
    return "proportional", {"factor": entry.parameters.get("factor", 1.0)}


def _keys(*names: str) -> Callable[[RopeEntry], frozenset[str]]:
    return lambda entry: frozenset(names)


RULES: dict[str, Rule] = {
    "default": Rule(_default, _keys()),
    "linear": Rule(_linear, _keys("factor")),
    "dynamic": Rule(_dynamic, _dynamic_keys),
    "yarn": Rule(yarn, yarn_keys, takes_odd_share=False),
    "llama3": Rule(
        _llama3,
        _keys("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    ),
    "longrope": Rule(_longrope, _longrope_keys, takes_odd_share=False),
    "proportional": Rule(_proportional, _keys("factor")),
}


def rule_of(entry: RopeEntry) -> Rule:
    """Return how an entry's rule is read.

    Raises:
        RopeScaleConfigError: If nobody knows the rule.
        RopeScaleUnsupportedError: If this dialect does not.
    """
    rule = RULES.get(entry.rope_type)
    known = sorted(entry.dialect.rules)
    if rule is None:
        requirement, close = f"one of {known}", entry.rope_type[:100].lower()
        hint = f"Did you mean {close!r}?" if close in known else ""
        raise RopeScaleConfigError(
            expected("rope_type", requirement, check.shown(entry.rope_type), hint)
        )
    if entry.rope_type not in entry.dialect.rules:
        requirement = f"one of {known}, which is all that dialect {entry.dialect.name!r} has"
        raise RopeScaleUnsupportedError(expected("rope_type", requirement, repr(entry.rope_type)))
    return rule
