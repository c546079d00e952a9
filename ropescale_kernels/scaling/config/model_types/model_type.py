"""The terms of the table of model types: how a configuration class reads a raw config."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal


@dataclasses.dataclass(frozen=True)
class LayerType:
    """One layer type's entry of rope parameters that a class nests without being asked.

    Attributes:
        theta_key: Top-level key of this entry's base in configs before Transformers 5, if any.
        default_theta: Base of the frequencies without that key.
        scaled: Whether a flat `rope_scaling` belongs to this entry.
        share_key: Top-level key of this entry's rotated fraction of the head, if any.
        rotary_dim_key: Top-level key of this entry's rotated channels, read without a fraction.
        parameters: Further parameters of an entry that the config leaves out.
        fills: Whether these fill the gaps of an entry in the config, too.
        yarn: Parameters that a flat `rope_scaling` of YaRN leaves out.
        keeps: Parameters that a flat `rope_scaling` does not replace.
        scaled_like: The layer type whose base this entry takes with a flat `rope_scaling`.
    """

    theta_key: str | None
    default_theta: float
    scaled: bool = False
    share_key: str = ""
    rotary_dim_key: str = ""
    parameters: Mapping[str, object] = dataclasses.field(default_factory=dict)
    fills: bool = False
    yarn: Mapping[str, object] = dataclasses.field(default_factory=dict)
    keeps: frozenset[str] = frozenset()
    scaled_like: str = ""


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
        head_keys: The two keys whose quotient is the channels of a head, if no key gives them.
        head_dim_multiple: Multiplies that quotient.
        least_head_dim: The least channels that the quotient gives.
        layer_head_dim_keys: Key of the rotated head's channels for layer types with other heads.
        names: The class's own names of sizes, by their usual names.
        theta_key: Top-level key of the base.
        layer_theta_key: Top-level key that lists the base of each layer, 0 for a layer without
            rotation.
        rotary_fraction_key: Top-level key of the rotated fraction of the head.
        rotary_dim_key: Top-level key of the rotated channels, read if no fraction is given.
        partial_in_default: Whether the rule without scaling reads the fraction.
        ntk_alpha: Whether "dynamic" with the key `alpha` raises the base once, whatever the length.
        rules: Names of the only rules that the class reads; empty for all.
        drops: Top-level keys of rope parameters that the class does not read.
        longrope_mscales: Whether `short_mscale` and `long_mscale` of longrope replace its formula.
        rotates_if: A top-level key and the value without which the model does not rotate.
        layers_without_rope: Kinds of layers that do not rotate.
        softmax_mscale: Whether attention multiplies its softmax scale by mscale squared.
        axes: M-RoPE of a multimodal model.
        builds_text_config: Whether the class builds a text config from a flat file.
        aliases: Names of rules that mean another rule in this model type.
        unrelated_keys: Rope parameters that the model uses outside the rotation.
        unrelated_top_level_keys: Top-level keys named like a rotation's that are used outside it.
        layer_pattern: Kinds of layers, repeated, if no key of the config tells them.
        uncounted_layers: Whether layers differ in ways that are not counted.
        layers: Entries by layer type that the class makes from flat keys.
        main_layer: The layer type whose attention covers the whole context.
        nests: Whether the class reads rope parameters by layer type alone, and adds none.
        caveat: A sentence about what the config does not tell of the rotation.
        flat: What the class does with flat rope parameters. "updates": a flat `rope_scaling`
            updates an entry, whose `rope_type` stays if the older key `type` names another.
            "builds": the same, but beside nested parameters it has no effect. "replaces": flat
            ones, old or new, replace nested ones.
    """

    known: bool = True
    defaults: Mapping[str, object] = dataclasses.field(default_factory=dict)
    head_dim_key: str = "head_dim"
    nope_head_dim_key: str = ""
    needs_head_dim: bool = False
    head_keys: tuple[str, str] = ("hidden_size", "num_attention_heads")
    head_dim_multiple: float = 1
    least_head_dim: int = 1
    layer_head_dim_keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    theta_key: str = "rope_theta"
    layer_theta_key: str = ""
    rotary_fraction_key: str = "partial_rotary_factor"
    rotary_dim_key: str = ""
    partial_in_default: bool = False
    ntk_alpha: bool = False
    rules: frozenset[str] = frozenset()
    drops: frozenset[str] = frozenset()
    longrope_mscales: bool = False
    rotates_if: tuple[str, object] | None = None
    layers_without_rope: frozenset[str] = frozenset()
    softmax_mscale: bool = False
    axes: Axes | None = None
    builds_text_config: bool = False
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unrelated_keys: frozenset[str] = frozenset()
    unrelated_top_level_keys: frozenset[str] = frozenset()
    layer_pattern: tuple[str, ...] = ()
    uncounted_layers: bool = False
    layers: Mapping[str, LayerType] = dataclasses.field(default_factory=dict)
    main_layer: str = "full_attention"
    nests: bool = False
    caveat: str = ""
    flat: Literal["updates", "builds", "replaces"] = "updates"

    def own_keys(self) -> frozenset[str]:
        """Return the top-level keys of the layers' shares and bases, and of the switch."""
        keys = {key for x in self.layers.values() for key in (x.share_key, x.rotary_dim_key)}
        switch = {self.rotates_if[0]} if self.rotates_if else set()
        return frozenset(keys | switch | {self.layer_theta_key})
