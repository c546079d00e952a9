"""From a config and a length to everything it takes to serve that length."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..errors import RopeScaleConfigError, RopeScaleUnsupportedError, expected
from ..scaling import RopeScaling
from ..scaling import validate as check
from ..scaling.config.model_types.table import UNKNOWN
from ..scaling.config.resolve import resolve
from ..scaling.config.rope_parameters import layer_types
from .compare import BASELINE, Reading, scaling_and_notes
from .config_warnings import mistakes
from .edit_config import changes, rewritten
from .engine_commands import commands
from .engine_warnings import engine_remarks, everyones_readings, other_magnitudes
from .extend import Extension, extend
from .inspect import numbers
from .kv_cache import KVCache, kv_cache
from .misspelt import of_loaded, spelled
from .text_config import TextConfig
from .trained_length import LENGTHS, PROMISES, TrainedLength, trained_length
from .wording import short_requests, verdict

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
    current, notes = scaling_and_notes(config, BASELINE, layer_type, None)
    lengths = trained_length(text, current, original_length)
    extension: Extension | None = None
    top: dict[str, object] = {}
    if target > lengths.reach:
        # Where L has to be written down, the factor beside it stays at least what it was.
        meant = int(lengths.original * current.factor) if lengths.is_unnamed else 0
        extension = extend(text, current, lengths, max(target, meant))
        # The factor times L, also where that is less: some implementations go by the ratio.
        top = {**_raised(text, max(target, meant)), "max_position_embeddings": max(target, meant)}
        if text.entry.model.needs_head_dim and text.get("head_dim") is None:
            # Transformers' YaRN fails without it.
            top["head_dim"] = text.head_dim()
    elif target > lengths.maximum:
        top = _raised(text, lengths.reach)
    else:
        # Some engines go by these names, others by the largest.
        top = {name: target for name in _raised(text, target) if name in PROMISES}
    new = _new_config(config, text, extension, top)
    planned, planned_notes = _read_back(new, layer_type, extension, current)
    keys = spelled(text, extension, top, rope_parameters=True)
    everyone = everyones_readings(new, text)
    warnings = [
        *(notes if extension is None else [*planned_notes, *extension.remarks]),
        *mistakes(text, current, lengths, target),
        *engine_remarks(everyone, planned, extension is not None),
    ]
    return Plan(
        target_length=target,
        needed=extension is not None,
        verdict=verdict(current, lengths, extension, target, _stops(text, top)),
        lengths=lengths,
        layer_type=layer_type,
        current=numbers(current),
        planned=numbers(planned),
        config=new,
        changes=changes(config, new),
        transformers_4=spelled(text, extension, top, rope_parameters=False),
        transformers_5=spelled(text, extension, top, rope_parameters=True, in_file=True),
        commands=commands(
            of_loaded(text, keys), planned, target, scaled_here=extension is not None
        ),
        kv_cache=kv_cache(text, target),
        short_requests=short_requests(planned, lengths, current.rope_type == "default"),
        other_magnitudes=other_magnitudes(everyone, planned),
        warnings=list(dict.fromkeys(warnings)),
    )


def _raised(text: TextConfig, length: int) -> dict[str, object]:
    """Return the keys of a model's longest length that are below one, with that one."""
    return {name: length for name in LENGTHS if 0 < (text.optional_length(name) or 0) < length}


def _stops(text: TextConfig, raised: Mapping[str, object]) -> str:
    return " and ".join(f"{name} {text.length(name):,}" for name in LENGTHS if name in raised)


def refuse_what_is_not_understood(config: Mapping[str, object]) -> None:
    """Refuse a config with a rope key that is misspelt or misplaced, or of an unknown model type.

    Its file is not to be rewritten: what such a key is for may be what the new ones break.

    Raises:
        RopeScaleConfigError: Naming the key or the type.
    """
    for name in layer_types(config):
        found = resolve(config, dialect=BASELINE, layer_type=name, seq_len=None, strict=False)
        if found.suspects:
            requirement = "a rope key that has an effect where it stands, to rewrite the file"
            raise RopeScaleConfigError(expected(found.suspects[0], requirement, "one without"))
    text = TextConfig(config)
    if text.entry.model is UNKNOWN:
        requirement = "a known model type, to rewrite its file"
        raise RopeScaleConfigError(expected("model_type", requirement, repr(text.model_type)))


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
    planned, notes = scaling_and_notes(config, BASELINE, layer_type, None)
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
