"""From a config and a length to everything it takes to serve that length."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ropescale_kernels.context.engines import commands
from ropescale_kernels.context.extension import Extension, extend
from ropescale_kernels.context.inspection import KEPT, numbers, pairs
from ropescale_kernels.context.kv_cache import KVCache, kv_cache
from ropescale_kernels.context.rewrite import changes, rewritten
from ropescale_kernels.context.side_by_side import BASELINE, Reading, readings, resolve
from ropescale_kernels.context.text_config import TextConfig
from ropescale_kernels.context.trained_length import TrainedLength, trained_length
from ropescale_kernels.errors import RopeScaleUnsupportedError, expected
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling import _validate as check
from ropescale_kernels.scaling.dialects import DIALECTS, OTHER_ENGINES
from ropescale_kernels.scaling.rope_entry import find_rope_entry


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
    warnings = [*notes, *_mistakes(text, current, lengths, target)]
    extension, top = None, {}
    if target > lengths.reach:
        extension = extend(text, current, lengths, target)
        warnings += extension.remarks
        top = {"max_position_embeddings": target}
    elif target > lengths.maximum:
        top = {"max_position_embeddings": lengths.reach}
    new = _new_config(config, text, extension, top)
    planned = _read_back(new, layer_type, extension, current)
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
        transformers_5=_keys(text, extension, top, rope_parameters=True),
        commands=commands(
            _keys(text, extension, top, rope_parameters=True),
            planned,
            target,
            scaled_here=extension is not None,
        ),
        kv_cache=kv_cache(text, target),
        short_requests=_short_requests(planned, lengths),
        other_magnitudes=_other_magnitudes(new, text, planned),
        warnings=list(dict.fromkeys(warnings)),
    )


def _new_config(
    config: Mapping[str, object],
    text: TextConfig,
    extension: Extension | None,
    top: Mapping[str, object],
) -> dict[str, object]:
    if extension is None:
        if not top:
            return dict(config)
        inner = config.get("text_config")
        nested = {**inner, **top} if isinstance(inner, Mapping) else None
        return {**config, "text_config": nested} if nested else {**config, **top}
    style = text.entry.config.get("rope_parameters") is not None
    return rewritten(config, extension.rope, top, text.main_layer_type(), rope_parameters=style)


def _read_back(
    config: Mapping[str, object],
    layer_type: str | None,
    extension: Extension | None,
    current: RopeScaling,
) -> RopeScaling:
    if extension is None:
        return resolve(config, BASELINE, layer_type, None)[0]
    wanted = (extension.rope["rope_type"], extension.factor)
    try:
        planned = resolve(config, BASELINE, layer_type, None)[0]
        found: object = (planned.rope_type, planned.factor)
    except ValueError as error:
        planned, found = current, str(error)
    if found != wanted:
        requirement = f"a model whose config class takes {wanted[0]} with factor {wanted[1]:g}"
        raise RopeScaleUnsupportedError(expected("rope_type", requirement, str(found)))
    return planned


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
    if extension is not None:
        return (
            f"Scaling is needed: {target:,} tokens are {extension.factor:g} times the "
            f"{lengths.original:,} that the model was trained on. YaRN with factor "
            f"{extension.factor:g}. Changing max_position_embeddings alone would scale nothing."
        )
    if lifts_maximum:
        return (
            f"No other scaling is needed: factor {current.factor:g} already reaches "
            f"{lengths.reach:,} tokens, but engines stop at max_position_embeddings "
            f"{lengths.maximum:,}, which has to be raised."
        )
    scaled = "" if current.factor == 1 else f", already scaled by {current.factor:g}"
    return (
        f"No scaling is needed: the model serves {lengths.maximum:,} tokens as it is{scaled}. "
        "Limit the engine's length instead, and short requests lose nothing."
    )


def _mistakes(
    text: TextConfig, current: RopeScaling, lengths: TrainedLength, target: int
) -> list[str]:
    found = []
    beyond = target > lengths.reach
    if beyond and current.rope_type == "default" and lengths.original != lengths.maximum:
        found.append(
            f"The factor counts from the {lengths.original:,} tokens of training "
            f"({lengths.source}); max_position_embeddings {lengths.maximum:,} would give "
            f"{target / lengths.maximum:g}."
        )
    if beyond and lengths.is_guess and current.rope_type == "default":
        found.append(
            "The config does not say what the model was trained on, so max_position_embeddings "
            f"{lengths.maximum:,} is taken for it; if that is wrong, give --original-length."
        )
    if lengths.is_missing:
        found.append(
            f"original_max_position_embeddings is missing, so max_position_embeddings "
            f"{lengths.maximum:,} counts as L, and the factor is applied on top of it."
        )
    if current.rope_type == "yarn" and current.factor > 1 and lengths.maximum == lengths.original:
        found.append(
            "max_position_embeddings equals original_max_position_embeddings: implementations "
            "that take their ratio for the factor (hf-4.51) scale nothing."
        )
    if beyond and text.get("use_sliding_window") is True:
        found.append("use_sliding_window limits what some layers see, whatever the length.")
    return found


def _short_requests(planned: RopeScaling, lengths: TrainedLength) -> list[str]:
    if planned.rope_type not in ("yarn", "linear") or planned.factor == 1:
        return []
    changed = [pair for pair in pairs(planned, lengths.original) if pair.fate != KEPT]
    logits = planned.attention_factor**2
    # The rule's own words on each number; the advice is in docs/choosing.md.
    return [
        f"Scaling is static in every engine: also within {lengths.original:,} tokens, "
        f"{len(changed)} of {planned.rotary_dim // 2} pairs turn slower and logits of rotated "
        f"channels are multiplied by {logits:.4g}.",
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
