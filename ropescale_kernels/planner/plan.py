"""A plan to serve a context length with a model: rope parameters, commands, memory, warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..errors import RopeScaleConfigError, RopeScaleUnsupportedError, expected
from ..scaling import RopeScaling
from ..scaling import validate as check
from ..scaling.config.dialects import BASELINE
from ..scaling.config.model_config import ModelConfig
from ..scaling.config.model_types.trained_lengths import LENGTH_KEYS, PROMISED_KEYS
from ..scaling.config.resolve import resolve
from ..scaling.rules.extension import Extension
from .compare import DialectResult, Noted, scaling_and_notes
from .config_warnings import config_warnings
from .edit_config import changes, keys_of_loaded_config, keys_to_set, with_rope_parameters
from .engine_commands import commands
from .engine_warnings import compare_implementations, engine_warnings, other_magnitudes
from .extend import extend
from .inspect import summary
from .kv_cache import KVCache, kv_cache
from .scaling_rule import rule_of
from .trained_length import TrainedLength, trained_length
from .wording import short_requests, verdict

# Numbers that the planned config must have when read back.
_COMPARED = (
    "rope_type",
    "factor",
    "original_max_position_embeddings",
    "rope_theta",
    "rotary_dim",
)


@dataclasses.dataclass(frozen=True)
class ContextPlan:
    """The plan for one length.

    Attributes:
        target_length: Tokens wanted.
        needed: Whether the rope parameters have to change.
        verdict: The answer in words.
        lengths: Lengths of the model as it is.
        layer_type: The layer type that is scaled, or None if one entry serves all layers.
        current: Numbers of the config as it is.
        planned: Numbers of the config as planned.
        config: The planned config, in the form of the given one; the same if nothing changes.
        changes: The keys that differ between the given config and the planned one.
        transformers_4: Those keys as Transformers 4 names them; empty if nothing changes.
        transformers_5: Those keys as Transformers 5 names them.
        assumed: What is assumed of a model type that is not known, "" for a known one.
        commands: One command line for each engine.
        kv_cache: Memory of one sequence of that length, or the reason why that is unknown.
        short_requests: The cost of scaling for requests within L, and how to avoid that cost.
        other_magnitudes: Implementations with another multiplier of q, k or the softmax scale.
        warnings: Warnings about the config, the engines and the plan.
    """

    target_length: int
    needed: bool
    verdict: str
    lengths: TrainedLength
    layer_type: str | None
    current: dict[str, object]
    planned: dict[str, object]
    config: dict[str, object]
    changes: dict[str, object]
    transformers_4: dict[str, object]
    transformers_5: dict[str, object]
    assumed: str
    commands: dict[str, str]
    kv_cache: KVCache | str
    short_requests: list[str]
    other_magnitudes: list[DialectResult]
    warnings: list[str]


def make_plan(
    config: Mapping[str, object] | ModelConfig,
    target_length: int,
    original_length: int | None = None,
) -> ContextPlan:
    """Return the plan to serve a context of `target_length` tokens.

    Args:
        config: A model's config, possibly multimodal, which is not changed.
        target_length: Length wanted, tokens of prompt and output together.
        original_length: L, if the caller knows better than the config.

    Returns:
        The plan. The planned config was read back and has the planned numbers.

    Raises:
        RopeScaleConfigError: If the config describes no valid scaling or lacks a key.
        RopeScaleUnsupportedError: If no rule extends the config's scaling.
    """
    target = check.length("target_length", target_length)
    model = ModelConfig.of(config)
    layer_type = model.main_layer_type
    current, notes = scaling_and_notes(model, BASELINE, layer_type, None)
    lengths = trained_length(model, current, original_length)
    extension: Extension | None = None
    top: dict[str, object] = {}
    if target > lengths.reach:
        # Writing L must not shrink the context that the old factor gave.
        meant = int(lengths.original * current.factor) if lengths.original_length_missing else 0
        extension = extend(model, current, lengths, max(target, meant))
        # Write factor * L even if that lowers the maximum: hf-4.51 derives the factor from this
        # ratio.
        top = {**_raised(model, max(target, meant)), "max_position_embeddings": max(target, meant)}
        if model.facts.needs_head_dim and model.get("head_dim") is None:
            # Transformers' YaRN fails without head_dim in these model types.
            top["head_dim"] = model.kv_head_dim()
    elif target > lengths.maximum:
        top = _raised(model, lengths.reach)
    else:
        # Some engines read these keys alone, others the largest length.
        top = {name: target for name in _raised(model, target) if name in PROMISED_KEYS}
    new = _new_config(model, extension, top)
    changed, read_back = model, (current, notes)
    if extension is not None or top:
        changed = ModelConfig(new)
        read_back = _read_back(changed, layer_type, extension, current)
    planned, planned_notes = read_back
    keys = keys_to_set(model, extension, top, rope_parameters=True)
    everyone = compare_implementations(changed, layer_type, read_back)
    said = notes if extension is None else planned_notes
    warnings = [
        *said,
        *(() if extension is None else extension.remarks),
        *config_warnings(model, current, lengths, target),
        *engine_warnings(everyone, planned, extension is not None),
    ]
    return ContextPlan(
        target_length=target,
        needed=extension is not None,
        verdict=verdict(current, lengths, extension, target, _stops(model, top)),
        lengths=lengths,
        layer_type=layer_type,
        current=summary(current),
        planned=summary(planned),
        config=new,
        changes=changes(model.whole, new),
        transformers_4=keys_to_set(model, extension, top, rope_parameters=False),
        transformers_5=keys_to_set(model, extension, top, rope_parameters=True, in_file=True),
        assumed="" if model.facts.known else said[0],
        commands=commands(
            keys_of_loaded_config(model, keys), planned, target, scaled_here=extension is not None
        ),
        kv_cache=kv_cache(model, target),
        short_requests=short_requests(planned, lengths, not rule_of(current).is_scaling),
        other_magnitudes=other_magnitudes(everyone, planned),
        warnings=list(dict.fromkeys(warnings)),
    )


def _raised(model: ModelConfig, length: int) -> dict[str, object]:
    """Return the keys of the longest length whose value is below `length`, set to `length`."""
    return {name: length for name in LENGTH_KEYS if 0 < (model.optional_length(name) or 0) < length}


def _stops(model: ModelConfig, raised: Mapping[str, object]) -> str:
    return " and ".join(f"{name} {model.length(name):,}" for name in LENGTH_KEYS if name in raised)


def check_rewritable(config: Mapping[str, object] | ModelConfig) -> None:
    """Refuse a config with a misspelt or misplaced rope key, or of an unknown model type.

    Such a file is not rewritten, because new rope parameters may break what the key is for.

    Raises:
        RopeScaleConfigError: Naming the key or the type.
    """
    model = ModelConfig.of(config)
    for name in model.layer_types:
        found = resolve(model, dialect=BASELINE, layer_type=name, seq_len=None, strict=False)
        if found.suspects:
            requirement = "a rope key that has an effect where it stands, to rewrite the file"
            raise RopeScaleConfigError(expected(found.suspects[0], requirement, "one without"))
    if not model.facts.known:
        requirement = "a known model type, to rewrite its file"
        raise RopeScaleConfigError(expected("model_type", requirement, repr(model.model_type)))


def _new_config(
    model: ModelConfig, extension: Extension | None, top: Mapping[str, object]
) -> dict[str, object]:
    style = model.rope.config.get("rope_parameters") is not None
    return with_rope_parameters(
        model.whole,
        None if extension is None else extension.rope,
        top,
        model.main_layer_type,
        rope_parameters=style,
        theta_key=model.facts.theta_key,
    )


def _read_back(
    changed: ModelConfig,
    layer_type: str | None,
    extension: Extension | None,
    current: RopeScaling,
) -> Noted:
    planned, notes = scaling_and_notes(changed, BASELINE, layer_type, None)
    if extension is None:
        wanted = {name: getattr(current, name) for name in _COMPARED}
    else:
        rope = extension.rope
        wanted = {
            "rope_type": rope["rope_type"],
            "factor": extension.factor,
            "original_max_position_embeddings": rope.get("original_max_position_embeddings"),
            "rope_theta": current.rope_theta,
            "rotary_dim": current.rotary_dim,
        }
    found = {name: getattr(planned, name) for name in _COMPARED}
    if found != wanted:
        differs = [name for name in _COMPARED if found[name] != wanted[name]]
        requirement = ", ".join(f"{name} {wanted[name]}" for name in differs)
        got = ", ".join(f"{name} {found[name]}" for name in differs)
        hint = "This config would not mean what is planned, so nothing is planned."
        raise RopeScaleUnsupportedError(expected("config", requirement, got, hint))
    return planned, notes
