"""From a scaling back to the keys of a config that Transformers reads as the same scaling."""

from __future__ import annotations

import math

from ..errors import RopeScaleUnsupportedError, RopeScaleValueError, expected
from .parameters import Parameters
from .rules import RULES
from .validate import MAX_LENGTH

_RELEASES = (4, 5)


def hf_config(parameters: Parameters, transformers: int) -> dict[str, object]:
    """Return the keys of a text config that describe a scaling.

    Args:
        parameters: The scaling's parameters.
        transformers: Major release of the keys: 4 or 5.

    Returns:
        A new dict of JSON values.

    Raises:
        RopeScaleUnsupportedError: For a rule that this release does not have, and for M-RoPE with
            DeepSeek's softmax scale, because no model has both.
        RopeScaleValueError: For another release.
    """
    if isinstance(transformers, bool) or transformers not in _RELEASES:
        raise RopeScaleValueError(expected("transformers", f"one of {_RELEASES}", transformers))
    rule = RULES[parameters.rope_type]
    keys = rule.hf_keys(parameters)
    if keys is None or transformers < rule.first_release:
        requirement = f"a rule that Transformers {transformers} has"
        raise RopeScaleUnsupportedError(expected("rope_type", requirement, parameters.rope_type))
    rope = {key: value for key, value in keys.items() if value is not None}
    rope_theta = rope.pop("rope_theta", parameters.rope_theta)
    if parameters.mrope_section is not None:
        if parameters.softmax_mscale:
            requirement = "None where the softmax scale is multiplied: no class has both"
            got = list(parameters.mrope_section)
            raise RopeScaleUnsupportedError(expected("mrope_section", requirement, got))
        rope["mrope_section"] = list(parameters.mrope_section)
        rope["mrope_interleaved"] = parameters.mrope_interleaved
    top = _dimensions(parameters)
    if (length := _max_position_embeddings(parameters)) is not None:
        top["max_position_embeddings"] = length
    share = top.pop("partial_rotary_factor", None)
    if transformers == 5:
        shared = {} if share is None else {"partial_rotary_factor": share}
        return {**top, "rope_parameters": {**rope, "rope_theta": rope_theta, **shared}}
    outer = {} if share is None else {"partial_rotary_factor": share}
    plain = rope == {"rope_type": "default"}
    return {**top, **outer, "rope_theta": rope_theta, "rope_scaling": None if plain else rope}


def _dimensions(p: Parameters) -> dict[str, object]:
    if p.softmax_mscale:
        # Only DeepSeek's model type makes Transformers multiply the softmax scale.
        return {"model_type": "deepseek_v3", "qk_rope_head_dim": p.rotary_dim}
    if p.frequency_dim != p.rotary_dim:
        # An odd D can only be a share of a head: D + 0.5 of D + 1 channels, rounded down.
        share = (p.frequency_dim + 0.5) / p.rotary_dim
        return {"head_dim": p.rotary_dim, "partial_rotary_factor": share}
    return {"head_dim": p.rotary_dim}


def _max_position_embeddings(p: Parameters) -> int | None:
    if p.max_position_embeddings is not None:
        return p.max_position_embeddings
    if p.original_max_position_embeddings is None:
        return None
    return min(math.floor(p.original_max_position_embeddings * p.factor), MAX_LENGTH)
