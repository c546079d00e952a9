"""The points on which implementations disagree about a config: the terms of the dialects.

All implementations agree on what a dialect does not state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args, get_origin, get_type_hints

from ....errors import RopeScaleValueError, expected


class _Terms:
    """A dataclass whose fields of type Literal hold one of the words of that type."""

    def __post_init__(self) -> None:
        """Check the words, because a dialect may be made by hand."""
        for name, hint in get_type_hints(type(self)).items():
            words, got = get_args(hint), getattr(self, name)
            if get_origin(hint) is Literal and got not in words:
                raise RopeScaleValueError(expected(f"dialect: {name}", f"one of {words}", got))


@dataclasses.dataclass(frozen=True)
class YarnSemantics(_Terms):
    """How one implementation reads the keys of YaRN.

    Attributes:
        factor: Which factor counts. "explicit": the config's. "or_one": the config's, or 1 if
            there is none. "ratio": max_position_embeddings / L if the config names L.
        null_factor: Whether a null factor stands for max_position_embeddings / L.
        length: Which length the ramp is measured in: "original" for L, "maximum" for
            max_position_embeddings.
        mrope_length: Multiplies that length in a model with M-RoPE sections.
        top_level_length: Whether L may stand beside the rope parameters. There it wins.
        attention_factor: Whether the key `attention_factor` replaces the formula.
        attn_factor: Whether the key `attn_factor` multiplies the formula.
        mscale: When the ratio of `mscale` and `mscale_all_dim` replaces the formula: if both are
            neither null nor 0 ("both_nonzero"), if neither is null ("both_present"), always, or
            never.
        mrope_mscale: Whether a model with M-RoPE sections may have those two keys.
        truncate: Whether the key `truncate` is read; otherwise the ramp is widened to whole pairs.
        nested_truncate: Whether `truncate` is read inside one layer type's parameters.
        betas: Meaning of a beta of 0 or null: the default ("or_default"), or an error
            ("as_given"). With "fixed" the keys are never read.
        extrapolation_factor: Whether the key `extrapolation_factor` weighs the ramp.
        only_beyond_original_length: Whether only a sequence longer than L is scaled.
        scales_q_and_k: Whether the magnitude multiplies q and k; otherwise the softmax scale alone.
        softmax_opt_out: A key and its value that leave DeepSeek's softmax scale alone.
    """

    factor: Literal["explicit", "or_one", "ratio"] = "explicit"
    null_factor: bool = False
    length: Literal["original", "maximum"] = "original"
    mrope_length: int = 1
    top_level_length: bool = True
    attention_factor: bool = True
    attn_factor: bool = False
    mscale: Literal["both_nonzero", "both_present", "always", "never"] = "both_nonzero"
    mrope_mscale: bool = True
    truncate: bool = True
    nested_truncate: bool = True
    betas: Literal["or_default", "as_given", "fixed"] = "as_given"
    extrapolation_factor: bool = False
    only_beyond_original_length: bool = False
    scales_q_and_k: bool = True
    softmax_opt_out: tuple[str, object] | None = None

    def keys(self) -> frozenset[str]:
        """Return the keys of the rope parameters that this implementation reads."""
        reads = {
            "factor": True,
            "original_max_position_embeddings": self.length == "original",
            "attention_factor": self.attention_factor,
            "attn_factor": self.attn_factor,
            "extrapolation_factor": self.extrapolation_factor,
            "truncate": self.truncate,
            "mscale": self.mscale != "never",
            "mscale_all_dim": self.mscale != "never" or not self.scales_q_and_k,
            "beta_fast": self.betas != "fixed",
            "beta_slow": self.betas != "fixed",
        }
        used = {key for key, read in reads.items() if read}
        used |= {self.softmax_opt_out[0]} if self.softmax_opt_out else set()
        return frozenset(used)


@dataclasses.dataclass(frozen=True)
class LongropeSemantics(_Terms):
    """How one implementation reads the keys of LongRoPE.

    Attributes:
        factor: Which factor counts. "explicit": the config's, or else the ratio of the two
            lengths. "top_level": that ratio if L stands beside the rope parameters, the only place
            that is searched for L; otherwise the config's factor. "ratio": always the ratio.
        attention_factor: Whether the key `attention_factor` replaces the formula.
        mscales: Whether `short_mscale` and `long_mscale` replace the formula, each for its factors.
        long: When the long factors count: beyond L tokens ("length"), or whenever
            max_position_embeddings is above L ("always").
    """

    factor: Literal["explicit", "top_level", "ratio"] = "explicit"
    attention_factor: bool = True
    mscales: bool = False
    long: Literal["length", "always"] = "length"


@dataclasses.dataclass(frozen=True)
class Dialect(_Terms):
    """How one implementation reads configs.

    Attributes:
        name: Name that users give.
        release: Release of the implementation whose code was read.
        rules: The `rope_type`s that the implementation knows.
        yarn: How YaRN is read.
        mla: How YaRN is read for models with DeepSeek's attention, if that differs.
        longrope: How LongRoPE is read.
        dynamic: What dynamic NTK follows. "length": the sequence's length.
            "fixed_by_trained_positions": max_position_embeddings / max_trained_positions, when a
            model is built. "fixed_at_max": a length of factor * max_position_embeddings.
        rope_parameters: Whether the key of Transformers 5 is read at all.
        partial_in_default: Whether the rule without scaling rotates a share of the head in every
            model type.
        softmax: Whether the softmax scale is multiplied by mscale squared: as the model type does
            ("model"), always, or never.
        class_axes: Whether a multimodal model's class says how the axes share the pairs, and other
            models have no axes. Otherwise two keys say it.
        optional_llama3: Whether `low_freq_factor` and `high_freq_factor` may be left out.
        aliases: Names of rules that mean another rule.
    """

    name: str
    release: str
    rules: frozenset[str]
    yarn: YarnSemantics
    mla: YarnSemantics | None = None
    longrope: LongropeSemantics = LongropeSemantics()
    dynamic: Literal["length", "fixed_by_trained_positions", "fixed_at_max"] = "length"
    rope_parameters: bool = True
    partial_in_default: bool = False
    softmax: Literal["model", "always", "never"] = "model"
    class_axes: bool = False
    optional_llama3: bool = False
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
