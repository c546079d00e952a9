"""The planned keys as each reader names them: a file of Transformers 4 or 5, a loaded config."""

from __future__ import annotations

from collections.abc import Mapping

from ..scaling.config.dialects import BASELINE, DIALECTS
from ..scaling.config.model_config import ModelConfig
from .extend import Extension


def spelled(
    model: ModelConfig,
    extension: Extension | None,
    top: Mapping[str, object],
    *,
    rope_parameters: bool,
    in_file: bool = False,
) -> dict[str, object]:
    """Return the keys to set, inside `text_config` where the config has one.

    Args:
        model: The model's config.
        extension: The new rope parameters, or None where the old ones stay.
        top: Other keys of the text model to set.
        rope_parameters: Whether to use the key of Transformers 5, else `rope_scaling`.
        in_file: Whether the keys go into the config's file, where old ones stay beside them.
    """
    keys: dict[str, object] = dict(top)
    if in_file and extension is not None and model.rope.config.get("rope_scaling"):
        # In a file that has both keys, rope_scaling wins.
        keys = {"rope_scaling": None, **keys}
    if extension is not None and rope_parameters:
        layer_type = model.main_layer_type
        others = {name: _entry_of(model, name) for name in model.layer_types if name is not None}
        # Where layer types differ, each has to be said: one dict would hold for all of them.
        keys["rope_parameters"] = (
            {**others, layer_type: extension.rope} if layer_type is not None else extension.rope
        )
    elif extension is not None:
        rope = dict(extension.rope)
        keys["rope_theta"] = rope.pop("rope_theta")
        keys["rope_scaling"] = rope
    return {"text_config": keys} if keys and model.has_text_config else keys


def of_loaded(model: ModelConfig, keys: dict[str, object]) -> dict[str, object]:
    """Return the keys of Transformers 5 as they are set on the config object that it loads."""
    # Classes of some flat files put the text model's keys into a config of its own.
    nests = model.facts.builds_text_config and not model.has_text_config
    return {"text_config": keys} if keys and nests else keys


def _entry_of(model: ModelConfig, layer_type: str) -> dict[str, object]:
    entry = model.entry(DIALECTS[BASELINE], layer_type)
    return {**entry.values, "rope_type": entry.rope_type}
