"""The terms of the table of model types: how a configuration class reads a raw config."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class LayerType:
    """One layer type's entry of rope parameters that a class nests without being asked.

    Attributes:
        theta_key: Top-level key of this entry's base in configs before Transformers 5, if any.
        default_theta: Base of the frequencies without that key.
        scaled: Whether a flat `rope_scaling` belongs to this entry.
    """

    theta_key: str | None
    default_theta: float
    scaled: bool


@dataclasses.dataclass(frozen=True)
class Axes:
    """How a multimodal class divides the pairs among the axes of a position (M-RoPE).

    Attributes:
        section: Pairs of each axis, if the config has no `mrope_section`.
        interleaved: Whether the axes alternate; classes do not read `mrope_interleaved`.
    """

    section: tuple[int, ...]
    interleaved: bool


@dataclasses.dataclass(frozen=True)
class ModelType:
    """How one model type reads its config.

    Attributes:
        known: Whether the table has the model type. Otherwise the keys of the config give the
            facts.
        defaults: Values of top-level keys that the config leaves out.
        head_dim_key: Key of the rotated head's channels.
        nope_head_dim_key: Key of channels that do not rotate and count in the rotary fraction.
        needs_head_dim: Whether Transformers fails on YaRN and longrope without that key.
        layer_head_dim_keys: Key of the rotated head's channels for layer types with other heads.
        theta_key: Top-level key of the base.
        rotary_fraction_key: Top-level key of the rotated fraction of the head.
        rotary_dim_key: Top-level key of the rotated channels, read if no fraction is given.
        partial_in_default: Whether the rule without scaling reads the fraction.
        ntk_alpha: Whether "dynamic" with the key `alpha` raises the base once, whatever the length.
        layers_without_rope: Kinds of layers that do not rotate.
        softmax_mscale: Whether attention multiplies its softmax scale by mscale squared.
        axes: M-RoPE of a multimodal model.
        builds_text_config: Whether the class builds a text config from a flat file.
        aliases: Names of rules that mean another rule in this model type.
        unrelated_keys: Rope parameters that the model uses outside the rotation.
        unrelated_top_level_keys: Top-level keys named like a rotation's that are used outside it.
        layer_pattern: Kinds of layers, repeated, if no key of the config tells them.
        layers: Entries by layer type that the class makes from flat keys.
    """

    known: bool = True
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
