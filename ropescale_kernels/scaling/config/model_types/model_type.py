"""What a model type's configuration class adds to a raw config: the terms of the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class LayerType:
    """One entry of rope parameters that a class nests by layer type on its own.

    Attributes:
        theta_key: Top-level key of this entry's base in configs before Transformers 5, if any.
        default_theta: Base without that key.
        scaled: Whether a flat `rope_scaling` belongs to this entry.
    """

    theta_key: str | None
    default_theta: float
    scaled: bool


@dataclasses.dataclass(frozen=True)
class Axes:
    """How a multimodal class shares its pairs among the axes of a position.

    Attributes:
        section: Pairs of each axis, where the config has no `mrope_section`.
        interleaved: Whether the axes alternate; classes do not read `mrope_interleaved`.
    """

    section: tuple[int, ...]
    interleaved: bool


@dataclasses.dataclass(frozen=True)
class ModelType:
    """How one model type reads its config.

    Attributes:
        defaults: Values of top-level keys that the config leaves out.
        head_dim_key: Key of the rotated head's channels.
        nope_head_dim_key: Key of further channels of the head, which the share counts too.
        needs_head_dim: Whether Transformers fails on YaRN and longrope without that key.
        layer_head_dim_keys: The same for layer types whose heads are of another size.
        theta_key: Top-level key of the base.
        rotary_fraction_key: Top-level key of the rotated share of the head.
        rotary_dim_key: Top-level key of the rotated channels, where no share is given.
        partial_in_default: Whether the rule without scaling reads that share.
        ntk_alpha: Whether "dynamic" with the key `alpha` raises the base once, whatever the length.
        layers_without_rope: Layers that the rotation is not for, by what they attend to.
        softmax_mscale: Whether attention multiplies its softmax scale by mscale squared.
        axes: Its axes, for a multimodal model.
        builds_text_config: Whether the class makes a text config of its own from a flat file.
        aliases: Names of rules that mean another one in this model.
        unrelated_keys: Rope keys that the model uses outside the rotation.
        unrelated_top_level_keys: The same of top-level keys whose names are like a rotation's.
        layer_pattern: What layers attend to, repeated, where no key of the config says it.
        layers: Entries by layer type that the class makes from flat keys.
    """

    defaults: Mapping[str, object] = dataclasses.field(default_factory=dict)
    head_dim_key: str = "head_dim"
    nope_head_dim_key: str = ""
    needs_head_dim: bool = False
    layer_head_dim_keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    theta_key: str = "rope_theta"
    rotary_fraction_key: str = "partial_rotary_factor"
    rotary_dim_key: str = ""
    partial_in_default: bool = False
    ntk_alpha: bool = False
    layers_without_rope: frozenset[str] = frozenset()
    softmax_mscale: bool = False
    axes: Axes | None = None
    builds_text_config: bool = False
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unrelated_keys: frozenset[str] = frozenset()
    unrelated_top_level_keys: frozenset[str] = frozenset()
    layer_pattern: tuple[str, ...] = ()
    layers: Mapping[str, LayerType] = dataclasses.field(default_factory=dict)
