"""The rope parameters that carry a model to a longer context."""

from __future__ import annotations

from ..errors import RopeScaleUnsupportedError, expected
from ..scaling import RopeScaling
from ..scaling.config.model_config import ModelConfig
from ..scaling.rules import RULES
from ..scaling.rules.extension import Extension, LongerContext
from .layers import widest_window
from .scaling_rule import parameters_of, rule_of, title_of
from .trained_length import TrainedLength

# Published models extend this far without training on longer texts (Qwen's documentation).
UNTRAINED_FACTOR = 4.0

_MULTIMODAL = (
    "Positions of images and videos grow slower than tokens: Qwen3-VL's card takes factor 2 or 3 "
    "where the length alone asks for 4; Qwen2.5-VL's warns that locating things and moments "
    "suffers."
)


def extend(
    model: ModelConfig, scaling: RopeScaling, lengths: TrainedLength, target: int
) -> Extension:
    """Return the rope parameters for a longer context.

    Args:
        model: The model's config.
        scaling: The scaling of the config as it is.
        lengths: Lengths of the model.
        target: Length wanted, tokens; more than `lengths.reach`.

    Returns:
        The parameters of the model's own rule, or of YaRN for a model without scaling.

    Raises:
        RopeScaleUnsupportedError: For a rule that cannot be carried further, saying why.
    """
    rule = rule_of(scaling)
    if rule.no_extension is not None:
        *others, last = sorted(name for name, rule in RULES.items() if rule.no_extension is None)
        requirement = f"{', '.join(others)} or {last}, to reach {target:,} tokens"
        raise RopeScaleUnsupportedError(
            expected("rope_type", requirement, scaling.rope_type, rule.no_extension)
        )
    _refuse_unread(model, target)
    wanted = LongerContext(
        target=target,
        original=lengths.original,
        maximum=lengths.maximum,
        given=model.rope.parameters,
        kept={**_axes(model), **_share(model, scaling)},
    )
    extension = rule.extended(parameters_of(scaling), wanted)
    _refuse_alias(model, scaling, extension, target)
    _refuse_local(model, lengths, target)
    if scaling.mrope_section is not None:
        extension.remarks.append(_MULTIMODAL)
    if rule.factor_counts_from == "original" and extension.factor > UNTRAINED_FACTOR:
        extension.remarks.append(
            f"The model was made for factor {scaling.factor:g}, and {extension.factor:g} is beyond "
            "that. Measure the quality before you rely on it."
        )
    if not rule.is_scaling and extension.factor > UNTRAINED_FACTOR:
        extension.remarks.append(
            f"Factor {extension.factor:g} is beyond the {UNTRAINED_FACTOR:g} that Qwen documents "
            "for models not trained on longer texts; YaRN's authors train for 16 and 32 "
            "(arXiv:2309.00071, sec. 4). Measure the quality before you rely on it."
        )
    return extension


def _refuse_alias(
    model: ModelConfig, scaling: RopeScaling, extension: Extension, target: int
) -> None:
    added = str(extension.rope["rope_type"])
    reads_as = model.facts.aliases.get(added)
    if reads_as is not None and scaling.rope_type != added:
        requirement = f"a model type that has {title_of(added)}, to reach {target:,} tokens"
        reason = f"Its class reads {added!r} as {reads_as!r}."
        raise RopeScaleUnsupportedError(
            expected("model_type", requirement, repr(model.model_type), reason)
        )


def _refuse_unread(model: ModelConfig, target: int) -> None:
    """Refuse a model whose class would not read the new parameters where they would stand."""
    facts = model.facts
    if "rope_scaling" in facts.drops:
        requirement = f"a model type that reads rope_scaling, to reach {target:,} tokens"
        raise RopeScaleUnsupportedError(expected("model_type", requirement, repr(model.model_type)))
    scaled = {name: layer for name, layer in facts.layers.items() if layer.scaled}
    flat_serves = scaled.keys() == {model.main_layer_type} and all(
        layer.theta_key == facts.theta_key for layer in scaled.values()
    )
    if facts.layers and not flat_serves and not model.rope.config.get("rope_parameters"):
        requirement = f"parameters of each of {[*facts.layers]}, to reach {target:,} tokens"
        hint = "The class does not read flat ones for one of these layer types alone."
        raise RopeScaleUnsupportedError(
            expected("rope_parameters", requirement, "no such key", hint)
        )


def _refuse_local(model: ModelConfig, lengths: TrainedLength, target: int) -> None:
    widest = widest_window(model, without=model.facts.layers_without_rope)
    if widest is not None and widest <= lengths.original:
        requirement = f"layers that rotate and see {target:,} tokens"
        reason = (
            f"Its layers with a rotary embedding see {widest:,} tokens at most: no scaling helps. "
            "Raise max_position_embeddings and measure."
        )
        raise RopeScaleUnsupportedError(
            expected("model_type", requirement, repr(model.model_type), reason)
        )


def _axes(model: ModelConfig) -> dict[str, object]:
    given = model.rope.parameters
    return {
        key: given[key]
        for key in ("mrope_section", "mrope_interleaved")
        if given.get(key) is not None
    }


def _share(model: ModelConfig, scaling: RopeScaling) -> dict[str, object]:
    """Return the rotated share of a head, which Transformers 5 keeps among the rope parameters.

    Without the share, replacing the rope parameters of a loaded config would drop it.
    """
    entry = model.rope
    share = entry.get("partial_rotary_factor", entry.model.rotary_fraction_key, None)
    if share is None and entry.top_level(entry.model.rotary_dim_key) is not None:
        share = scaling.rotary_dim / entry.rotary_head_dim()
    return {} if share is None else {"partial_rotary_factor": share}
