"""Assumptions about a model type that is not known: which keys gave which number, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from ...errors import expected
from .. import validate as check
from ..rules.rule import ConfigRule
from .model_config import ModelConfig
from .model_types.table import MODEL_TYPES
from .rope_entry import RopeEntry


@dataclasses.dataclass(frozen=True)
class Assumption:
    """The reading of a config whose model type is not known.

    Attributes:
        text: The numbers, and the keys that gave them.
        refusal: The error of strict reading.
        is_due: Whether anything is assumed. A dict without `model_type` that names its channels and
            its base, such as the result of `to_hf_config`, leaves nothing open.
    """

    text: str
    refusal: str
    is_due: bool


def find_assumption(
    model: ModelConfig,
    entry: RopeEntry,
    rule: ConfigRule,
    arguments: Mapping[str, object],
    share: tuple[str, float],
) -> Assumption | None:
    """Return the reading of a config by its keys, or None if its model type is known.

    Args:
        model: The model's config.
        entry: The rope parameters of one layer type.
        rule: How the dialect reads their rule.
        arguments: Keywords of the parameters of the rule.
        share: The key of the rotated share of a head, and the share.
    """
    if entry.model.known:
        return None
    got = check.shown(model.model_type) if model.model_type else "no such key"
    facts = [
        _channels(entry, rule, arguments["rotary_dim"], *share),
        _base(entry, arguments["rope_theta"]),
        *_rule(entry, rule, arguments),
    ]
    facts += [f"{', '.join(keys)} as in {like}" for like, keys in _examples(model).items()]
    by_keys = f"Read by its keys: {'; '.join(facts)}."
    unknown = "Defaults that its config class may add are not known here."
    like = [name for name in _examples(model) if name in MODEL_TYPES]
    such = f" ({', '.join(like)})" if like else ""
    advice = f"Name a known type that has these keys{such}, or read without strict."
    return Assumption(
        text=expected("model_type", "a known model type", got, f"{by_keys} {unknown}"),
        refusal=expected("model_type", "a known model type if strict", got, f"{advice} {by_keys}"),
        is_due=bool(model.model_type or model.evidence) or _leaves_open(entry, share[1]),
    )


def _examples(model: ModelConfig) -> dict[str, list[str]]:
    """Return the keys that are evidence, by the model type that they come from."""
    found: dict[str, list[str]] = {}
    for piece, keys in model.evidence:
        if piece.like:
            of_like = found.setdefault(piece.like, [])
            of_like += [key for key in keys if key not in of_like]
    return found


def _channels(
    entry: RopeEntry, rule: ConfigRule, rotary_dim: object, share_key: str, share: float
) -> str:
    keys = entry.rotary_head_dim_name().split(" // ")
    head = " // ".join(f"{key} {check.shown(entry.top_level(key))}" for key in keys)
    if share_key == entry.model.rotary_dim_key:
        head = f"{share_key} of {head}"
    elif share != 1 and not rule.takes_share:
        head = f"{head} times {share_key} {share:g}"
    return f"{head} gives {rotary_dim} rotary channels"


def _base(entry: RopeEntry, rope_theta: object) -> str:
    key, value = _base_key(entry), check.shown(rope_theta)
    return f"{key} gives the base {value}" if key else f"no key gives the base, so {value} is taken"


def _base_key(entry: RopeEntry) -> str:
    """Return the key of the config that names the base, or "" if none does."""
    if entry.config.get(entry.model.layer_theta_key) is not None:
        return entry.model.layer_theta_key
    layer = entry.model.layers.get(entry.layer_type or "")
    top = entry.model.theta_key if layer is None else layer.theta_key or ""
    given = entry.config.get(entry.config_key)
    inside = given if isinstance(given, Mapping) and entry.reads_base_inside() else {}
    own = inside.get(entry.layer_type)
    for rope in (own, inside):
        if isinstance(rope, Mapping) and rope.get("rope_theta") is not None:
            return "rope_theta"
    return top if entry.config.get(top) is not None else ""


def _rule(entry: RopeEntry, rule: ConfigRule, arguments: Mapping[str, object]) -> Iterator[str]:
    yield f"rope_type {entry.rope_type!r}"
    if rule.scales_softmax(entry):
        weight = arguments.get("mscale_all_dim")
        key = f"mscale_all_dim {check.shown(weight)}" if weight else "no key"
        yield f"{key} multiplies the softmax scale"
    if entry.parameters.get("mrope_section") is not None:
        alternate = entry.parameters.get("mrope_interleaved") is True
        yield f"the axes of mrope_section {'alternate' if alternate else 'lie in bands'}"
    if _serves_several(entry):
        yield f"one {entry.config_key} serves every layer"


def _leaves_open(entry: RopeEntry, share: float) -> bool:
    """Return whether a class may give a number that the keys of a config do not name."""
    values = entry.parameters
    axes = values.get("mrope_section") is not None and values.get("mrope_interleaved") is None
    # Some classes rotate whole heads without scaling, whatever the share.
    whole = share == 1 or entry.rope_type != "default"
    names_heads = " // " not in entry.rotary_head_dim_name()
    named = whole and names_heads and _base_key(entry)
    return axes or not named or _serves_several(entry)


def _serves_several(entry: RopeEntry) -> bool:
    """Return whether one scaling serves kinds of layers that a class may treat differently."""
    if entry.rope_type == "default" or entry.by_layer_type is not None:
        return False
    names = entry.top_level("layer_types")
    listed = isinstance(names, (list, tuple)) and any(name != names[0] for name in names)
    return listed or entry.layer_type is not None
