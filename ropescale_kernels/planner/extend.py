"""The rope parameters that carry a model to a longer context, rule by rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..errors import RopeScaleUnsupportedError, expected
from ..scaling import RopeScaling
from ..scaling.config.model_config import ModelConfig
from ..scaling.magnitude import yarn_attention_factor
from ..scaling.rules import RULES
from .layers import widest_window
from .trained_length import TrainedLength

# Published models extend this far without training on longer texts (Qwen's documentation).
UNTRAINED_FACTOR = 4.0


_MULTIMODAL = (
    "Positions of images and videos grow slower than tokens: Qwen3-VL's card takes factor 2 or 3 "
    "where the length alone asks for 4; Qwen2.5-VL's warns that locating things and moments "
    "suffers."
)


@dataclasses.dataclass(frozen=True)
class Extension:
    """New rope parameters of one layer type.

    Attributes:
        rope: The parameters, `rope_theta` among them.
        factor: Context extension factor.
        remarks: Warnings about the parameters.
    """

    rope: dict[str, object]
    factor: float
    remarks: list[str]


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
    rule = _RULES.get(scaling.rope_type)
    if rule is None:
        reason = RULES[scaling.rope_type].no_extension
        requirement = f"default, linear or yarn, to reach {target:,} tokens"
        raise RopeScaleUnsupportedError(
            expected("rope_type", requirement, scaling.rope_type, reason)
        )
    reads_as = model.facts.aliases.get("yarn")
    if reads_as is not None and scaling.rope_type == "default":
        requirement = f"a model type that has YaRN, to reach {target:,} tokens"
        reason = f"Its class reads 'yarn' as {reads_as!r}."
        raise RopeScaleUnsupportedError(
            expected("model_type", requirement, repr(model.model_type), reason)
        )
    _refuse_local(model, lengths, target)
    extension = rule(model, scaling, lengths, target)
    if scaling.mrope_section is not None:
        extension.remarks.append(_MULTIMODAL)
    if scaling.rope_type == "yarn" and extension.factor > UNTRAINED_FACTOR:
        extension.remarks.append(
            f"The model was made for factor {scaling.factor:g}, and {extension.factor:g} is beyond "
            "that. Measure the quality before you rely on it."
        )
    if extension.factor > UNTRAINED_FACTOR and scaling.rope_type == "default":
        extension.remarks.append(
            f"Factor {extension.factor:g} is beyond the {UNTRAINED_FACTOR:g} that Qwen documents "
            "for models not trained on longer texts; YaRN's authors train for 16 and 32 "
            "(arXiv:2309.00071, sec. 4). Measure the quality before you rely on it."
        )
    return extension


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


def _base(model: ModelConfig, scaling: RopeScaling) -> dict[str, object]:
    kept = ("mrope_section", "mrope_interleaved")
    values = {
        key: model.rope.parameters[key]
        for key in kept
        if model.rope.parameters.get(key) is not None
    }
    return {**values, **_share(model, scaling), "rope_theta": scaling.rope_theta}


def _share(model: ModelConfig, scaling: RopeScaling) -> dict[str, object]:
    """Return the rotated share of a head, which Transformers 5 keeps among the rope parameters.

    Without the share, replacing the rope parameters of a loaded config would drop it.
    """
    entry = model.rope
    share = entry.get("partial_rotary_factor", entry.model.rotary_fraction_key, None)
    if share is None and entry.top_level(entry.model.rotary_dim_key) is not None:
        share = scaling.rotary_dim / entry.rotary_head_dim()
    return {} if share is None else {"partial_rotary_factor": share}


def _from_default(
    model: ModelConfig, scaling: RopeScaling, lengths: TrainedLength, target: int
) -> Extension:
    factor = target / lengths.original
    rope = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": lengths.original,
        **_base(model, scaling),
    }
    return Extension(rope, factor, [])


def _from_yarn(
    model: ModelConfig, scaling: RopeScaling, lengths: TrainedLength, target: int
) -> Extension:
    factor, remarks = target / lengths.original, []
    # A key "type" is kept, because a model's own code may read the rule's name there.
    rope = {
        **model.rope.parameters,
        **_share(model, scaling),
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": lengths.original,
        "rope_theta": scaling.rope_theta,
    }
    p = scaling._parameters
    if p.attention_factor is not None:
        formula = yarn_attention_factor(scaling.factor, None, p.mscale, p.mscale_all_dim)
        longer = yarn_attention_factor(factor, None, p.mscale, p.mscale_all_dim)
        if abs(p.attention_factor - formula) < 1e-6:
            # Written out, because an engine that merges keys would keep the old number.
            rope["attention_factor"] = longer
            remarks.append(
                f"attention_factor {p.attention_factor!r} is the formula's at factor "
                f"{scaling.factor:g}; at factor {factor:g} that is {longer:.6g}."
            )
        else:
            remarks.append(
                f"attention_factor stays {p.attention_factor!r}, as the model was made; the "
                f"formula would give {longer:.6g} at factor {factor:g}."
            )
    return Extension(rope, factor, remarks)


def _from_linear(
    model: ModelConfig, scaling: RopeScaling, lengths: TrainedLength, target: int
) -> Extension:
    factor = scaling.factor * target / lengths.maximum
    rope = {"rope_type": "linear", "factor": factor, **_base(model, scaling)}
    remark = (
        "Position interpolation moves fast pairs too, which costs quality without further "
        "training (arXiv:2309.00071, sec. 3.1)."
    )
    return Extension(rope, factor, [remark])


_RULES: dict[str, Callable[[ModelConfig, RopeScaling, TrainedLength, int], Extension]] = {
    "default": _from_default,
    "yarn": _from_yarn,
    "linear": _from_linear,
}
