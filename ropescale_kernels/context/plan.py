"""From a config and a length to everything it takes to serve that length."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ropescale_kernels.context.engines import commands
from ropescale_kernels.context.extension import Extension, extend
from ropescale_kernels.context.inspection import KEPT, numbers, pairs
from ropescale_kernels.context.kv_cache import KVCache, kv_cache
from ropescale_kernels.context.mistakes import mistakes
from ropescale_kernels.context.rewrite import changes, rewritten
from ropescale_kernels.context.side_by_side import BASELINE, Reading, readings, resolve
from ropescale_kernels.context.text_config import TextConfig
from ropescale_kernels.context.trained_length import TrainedLength, trained_length
from ropescale_kernels.errors import RopeScaleUnsupportedError, expected
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling import _validate as check
from ropescale_kernels.scaling.dialects import DIALECTS, OTHER_ENGINES
from ropescale_kernels.scaling.rope_entry import find_rope_entry

# What has to come out of the planned config as it was meant.
_COMPARED = (
    "rope_type",
    "factor",
    "original_max_position_embeddings",
    "rope_theta",
    "rotary_dim",
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to do for one length.

    Attributes:
        target_length: Tokens wanted.
        needed: Whether the rope parameters have to change.
        verdict: The answer in words.
        lengths: How far the model reaches as it is.
        layer_type: The layer type that is scaled, or None where one entry serves all.
        current: Numbers of the config as it is.
        planned: Numbers of the config as planned.
        config: The planned config, in the form of the given one; the same if nothing changes.
        changes: Its keys that differ.
        transformers_4: The same keys as Transformers 4 names them; empty if nothing changes.
        transformers_5: The same for Transformers 5.
        commands: One command line for each engine.
        kv_cache: Memory of one sequence of that length, or why it cannot be told.
        short_requests: What scaling costs requests within L, and how to avoid it.
        other_magnitudes: Implementations that would multiply q, k or the softmax otherwise.
        warnings: What to look out for.
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
    commands: dict[str, str]
    kv_cache: KVCache | str
    short_requests: list[str]
    other_magnitudes: list[Reading]
    warnings: list[str]


def make_plan(
    config: Mapping[str, object], target_length: int, original_length: int | None = None
) -> Plan:
    """Return what it takes to serve a context of `target_length` tokens.

    Args:
        config: A model's config, possibly multimodal; it is not changed.
        target_length: Length wanted, tokens of prompt and output together.
        original_length: L, where the caller knows better than the config.

    Returns:
        The plan, its config already read back and found to mean what is meant.

    Raises:
        RopeScaleConfigError: If the config describes no valid scaling or lacks a key.
        RopeScaleUnsupportedError: If its rule cannot be carried further.
    """
    target = check.length("target_length", target_length)
    text = TextConfig(config)
    layer_type = text.main_layer_type()
    current, notes = resolve(config, BASELINE, layer_type, None)
    lengths = trained_length(text, current, original_length)
    extension: Extension | None = None
    top: dict[str, object] = {}
    if target > lengths.reach:
        # Where L has to be written down, the factor beside it stays at least what it was.
        meant = int(lengths.original * current.factor) if lengths.is_unnamed else 0
        extension = extend(text, current, lengths, max(target, meant))
        top = {"max_position_embeddings": max(target, meant)}
        if text.entry.model.needs_head_dim and text.get("head_dim") is None:
            # Transformers' YaRN fails without it.
            top["head_dim"] = text.head_dim()
    elif target > lengths.maximum:
        top = {"max_position_embeddings": lengths.reach}
    new = _new_config(config, text, extension, top)
    planned, planned_notes = _read_back(new, layer_type, extension, current)
    keys = _keys(text, extension, top, rope_parameters=True)
    warnings = [
        *(notes if extension is None else [*planned_notes, *extension.remarks]),
        *mistakes(text, current, lengths, target),
    ]
    return Plan(
        target_length=target,
        needed=extension is not None,
        verdict=_verdict(current, lengths, extension, target, bool(top)),
        lengths=lengths,
        layer_type=layer_type,
        current=numbers(current),
        planned=numbers(planned),
        config=new,
        changes=changes(config, new),
        transformers_4=_keys(text, extension, top, rope_parameters=False),
        transformers_5={**_without_old(text, extension), **keys},
        commands=commands(
            _of_loaded(text, keys), planned, target, scaled_here=extension is not None
        ),
        kv_cache=kv_cache(text, target),
        short_requests=_short_requests(planned, lengths, current.rope_type == "default"),
        other_magnitudes=_other_magnitudes(new, text, planned),
        warnings=list(dict.fromkeys(warnings)),
    )


def _new_config(
    config: Mapping[str, object],
    text: TextConfig,
    extension: Extension | None,
    top: Mapping[str, object],
) -> dict[str, object]:
    style = text.entry.config.get("rope_parameters") is not None
    return rewritten(
        config,
        None if extension is None else extension.rope,
        top,
        text.main_layer_type(),
        rope_parameters=style,
        theta_key=text.entry.model.theta_key,
    )


def _read_back(
    config: Mapping[str, object],
    layer_type: str | None,
    extension: Extension | None,
    current: RopeScaling,
) -> tuple[RopeScaling, tuple[str, ...]]:
    planned, notes = resolve(config, BASELINE, layer_type, None)
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


def _keys(
    text: TextConfig,
    extension: Extension | None,
    top: Mapping[str, object],
    *,
    rope_parameters: bool,
) -> dict[str, object]:
    keys: dict[str, object] = dict(top)
    if extension is not None and rope_parameters:
        layer_type = text.main_layer_type()
        others = {name: _entry_of(text, name) for name in text.rope_layer_types if name is not None}
        # Where layer types differ, each has to be said: one dict would hold for all of them.
        keys["rope_parameters"] = (
            {**others, layer_type: extension.rope} if layer_type is not None else extension.rope
        )
    elif extension is not None:
        rope = dict(extension.rope)
        keys["rope_theta"] = rope.pop("rope_theta")
        keys["rope_scaling"] = rope
    return {"text_config": keys} if keys and text.nested else keys


def _without_old(text: TextConfig, extension: Extension | None) -> dict[str, object]:
    # In a file that has both keys, rope_scaling wins.
    stays = extension is not None and text.entry.config.get("rope_scaling") and not text.nested
    return {"rope_scaling": None} if stays else {}


def _of_loaded(text: TextConfig, keys: dict[str, object]) -> dict[str, object]:
    # Classes of some flat files put the text model's keys into a config of its own.
    nests = text.entry.model.nests_text and not text.nested
    return {"text_config": keys} if keys and nests else keys


def _entry_of(text: TextConfig, layer_type: str) -> dict[str, object]:
    entry = find_rope_entry(text.entry.config, DIALECTS[BASELINE], layer_type)
    return {**entry.values, "rope_type": entry.rope_type}


def _verdict(
    current: RopeScaling,
    lengths: TrainedLength,
    extension: Extension | None,
    target: int,
    lifts_maximum: bool,
) -> str:
    if extension is not None and extension.rope["rope_type"] == "linear":
        return (
            f"More scaling is needed: the model serves {lengths.maximum:,} tokens with linear "
            f"factor {current.factor:g}; {target:,} take {extension.factor:g}."
        )
    if extension is not None and lengths.is_unnamed:
        return (
            f"The config's YaRN does not name the length that it counts from: {lengths.original:,} "
            f"is written beside factor {extension.factor:g}, which then serves "
            f"{int(lengths.original * extension.factor):,} tokens."
        )
    if extension is not None:
        return (
            f"Scaling is needed: {target:,} tokens are {extension.factor:g} times the "
            f"{lengths.original:,} that the model was trained on. YaRN with factor "
            f"{extension.factor:g}. Changing max_position_embeddings alone would scale nothing."
        )
    if lifts_maximum and current.factor == 1:
        return (
            f"No scaling is needed: the model was trained on {lengths.original:,} tokens. Engines "
            f"stop at max_position_embeddings {lengths.maximum:,}, which has to be raised."
        )
    if lifts_maximum:
        return (
            f"No other scaling is needed: factor {current.factor:g} already reaches "
            f"{lengths.reach:,} tokens, but engines stop at max_position_embeddings "
            f"{lengths.maximum:,}, which has to be raised."
        )
    serves = f"No scaling is needed: the config serves {lengths.maximum:,} tokens as it is"
    if current.factor == 1:
        return f"{serves}. Limit the engine's length and change nothing."
    return f"{serves}, already scaled by {current.factor:g}. Limit the engine's length instead."


def _short_requests(
    planned: RopeScaling, lengths: TrainedLength, new_to_the_model: bool
) -> list[str]:
    if planned.rope_type != "yarn" or planned.factor == 1:
        return []
    changed = [pair for pair in pairs(planned, lengths.original) if pair.fate != KEPT]
    logits = planned.attention_factor**2 * planned.softmax_scale_multiplier
    fact = (
        f"Scaling is static in every engine: also within {lengths.original:,} tokens, "
        f"{len(changed)} of {planned.rotary_dim // 2} pairs turn slower and logits of rotated "
        f"channels are multiplied by {logits:.4g}."
    )
    if not new_to_the_model:
        return [
            fact,
            "A model that was trained with its scaling wants it at every length. Where the keys "
            f"were added to reach further, leave them out for requests within {lengths.original:,} "
            "tokens.",
        ]
    return [
        fact,
        "Where most requests are short, serve them unscaled: run two instances, or here a table of "
        "two profiles, chosen per request: RotaryTable([unscaled, scaled]), profile_ids.",
    ]


def _other_magnitudes(
    config: Mapping[str, object], text: TextConfig, planned: RopeScaling
) -> list[Reading]:
    if planned.rope_type != "yarn":
        return []
    everyone = {**DIALECTS, **OTHER_ENGINES}
    if not text.entry.model.softmax_mscale:
        # DeepSeek's own code runs DeepSeek's models and no others.
        del everyone["deepseek"]
    found = readings(config, text.main_layer_type(), dialects=everyone)
    return [reading for reading in found if reading.other_magnitude]
