"""Whose reading of a config: the points on which implementations disagree, as data.

What a dialect does not say here is the same in all of them. Every row was read in the named
release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal


@dataclasses.dataclass(frozen=True)
class YarnReading:
    """How one implementation reads the keys of YaRN.

    Attributes:
        factor: Which factor counts: the config's ("explicit"); the same, or 1 where there is none
            ("or_one"); max_position_embeddings / L wherever the config names L ("ratio").
        null_factor: Whether a null factor stands for max_position_embeddings / L.
        length: Which length the ramp is measured in: L, or "maximum" for max_position_embeddings.
        mrope_length: What multiplies that length in a model with M-RoPE sections.
        top_level_length: Whether L may stand beside the rope parameters, where it wins.
        attention_factor: Whether the key `attention_factor` replaces the formula.
        attn_factor: Whether the key `attn_factor` multiplies the formula.
        mscale: When the ratio of `mscale` and `mscale_all_dim` replaces the formula: if both are
            neither null nor 0 ("truthy"), neither null ("given"), always, or never.
        mrope_mscale: Whether a model with M-RoPE sections may have those two keys.
        truncate: Whether the key `truncate` is read; where not, the ramp is widened to whole pairs.
        nested_truncate: Whether it is read inside one layer type's parameters.
        betas: What a 0 or null means: the default ("or_default"), or an error ("as_given"); "fixed"
            never reads the keys.
        extrapolation_factor: Whether that key weighs the ramp.
        needs_length: Whether scaling waits until a sequence is longer than L.
        on_qk: Whether the magnitude goes to q and k; else to the softmax scale alone.
        plain_softmax: A key and its value that leave DeepSeek's softmax scale alone.
    """

    factor: Literal["explicit", "or_one", "ratio"] = "explicit"
    null_factor: bool = False
    length: Literal["original", "maximum"] = "original"
    mrope_length: int = 1
    top_level_length: bool = True
    attention_factor: bool = True
    attn_factor: bool = False
    mscale: Literal["truthy", "given", "always", "never"] = "truthy"
    mrope_mscale: bool = True
    truncate: bool = True
    nested_truncate: bool = True
    betas: Literal["or_default", "as_given", "fixed"] = "as_given"
    extrapolation_factor: bool = False
    needs_length: bool = False
    on_qk: bool = True
    plain_softmax: tuple[str, object] | None = None

    def keys(self) -> frozenset[str]:
        """Return the keys of the rope parameters that this reading uses."""
        reads = {
            "factor": True,
            "original_max_position_embeddings": self.length == "original",
            "attention_factor": self.attention_factor,
            "attn_factor": self.attn_factor,
            "extrapolation_factor": self.extrapolation_factor,
            "truncate": self.truncate,
            "mscale": self.mscale != "never",
            "mscale_all_dim": self.mscale != "never" or not self.on_qk,
            "beta_fast": self.betas != "fixed",
            "beta_slow": self.betas != "fixed",
        }
        used = {key for key, read in reads.items() if read}
        used |= {self.plain_softmax[0]} if self.plain_softmax else set()
        return frozenset(used)


@dataclasses.dataclass(frozen=True)
class LongropeReading:
    """How one implementation reads the keys of LongRoPE.

    Attributes:
        factor: "explicit": the config's factor, or else the ratio of the two lengths. "top_level":
            that ratio if L stands beside the rope parameters, the only place where it is looked
            for; without it, the config's factor. "ratio": always the ratio.
        attention_factor: Whether the key `attention_factor` replaces the formula.
        mscales: Whether `short_mscale` and `long_mscale` replace it, each for its factors.
        long: When the long factors count: beyond L tokens ("length"), or whenever
            max_position_embeddings is above L ("always").
    """

    factor: Literal["explicit", "top_level", "ratio"] = "explicit"
    attention_factor: bool = True
    mscales: bool = False
    long: Literal["length", "always"] = "length"


@dataclasses.dataclass(frozen=True)
class Dialect:
    """One reading of configs.

    Attributes:
        name: What users call it.
        release: Where it was read.
        rules: The `rope_type`s that it knows.
        yarn: How it reads YaRN.
        mla: The same for models with DeepSeek's attention, where that differs.
        longrope: How it reads LongRoPE.
        dynamic: Dynamic NTK from the sequence's length ("length"), fixed when a model is built by
            max_position_embeddings / max_trained_positions ("trained"), or fixed as if the length
            were factor * max_position_embeddings ("stretched").
        rope_parameters: Whether the key of Transformers 5 is read at all.
        partial_in_default: Whether the rule without scaling rotates a share of the head in every
            model type.
        softmax: Whether the softmax scale is multiplied by mscale squared: as the model type does
            ("model"), always, or never.
        class_axes: Whether a multimodal model's class says how the axes share the pairs, and others
            have none; where not, two keys say it.
        optional_llama3: Whether `low_freq_factor` and `high_freq_factor` may be left out.
        aliases: Names of rules that mean another one.
    """

    name: str
    release: str
    rules: frozenset[str]
    yarn: YarnReading
    mla: YarnReading | None = None
    longrope: LongropeReading = LongropeReading()
    dynamic: Literal["length", "trained", "stretched"] = "length"
    rope_parameters: bool = True
    partial_in_default: bool = False
    softmax: Literal["model", "always", "never"] = "model"
    class_axes: bool = False
    optional_llama3: bool = False
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)


_HF4_RULES = frozenset({"default", "linear", "dynamic", "yarn", "llama3", "longrope"})
_RULES = _HF4_RULES | {"proportional"}
_ENGINE_ALIASES = MappingProxyType({"su": "longrope", "mrope": "default"})

_HF = YarnReading(null_factor=True, nested_truncate=False, betas="or_default")
_HF4 = YarnReading(
    top_level_length=False, truncate=False, nested_truncate=False, betas="or_default"
)
_ORIGINAL = YarnReading(
    top_level_length=False,
    attention_factor=False,
    attn_factor=True,
    mscale="never",
    truncate=False,
    extrapolation_factor=True,
)
_SGLANG = YarnReading(
    factor="or_one",
    attention_factor=False,
    attn_factor=True,
    mscale="given",
    mrope_mscale=False,
    extrapolation_factor=True,
)

# The dialect that others are compared with.
BASELINE = "hf"

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            Dialect("hf", "Transformers 5.23", _RULES, _HF, class_axes=True),
            Dialect(
                "hf-4.51",
                "Transformers 4.51 to 4.53",
                _HF4_RULES,
                dataclasses.replace(_HF4, factor="ratio"),
                longrope=LongropeReading(factor="top_level"),
                rope_parameters=False,
                partial_in_default=True,
                class_axes=True,
            ),
            Dialect(
                "hf-4.45",
                "Transformers 4.45 to 4.49",
                _HF4_RULES,
                dataclasses.replace(_HF4, length="maximum", mscale="never"),
                longrope=LongropeReading(factor="top_level", long="always"),
                rope_parameters=False,
                partial_in_default=True,
                class_axes=True,
            ),
            Dialect(
                "vllm",
                "vLLM 0.32",
                _RULES,
                YarnReading(mrope_length=4),
                mla=YarnReading(
                    attention_factor=False,
                    mscale="always",
                    truncate=False,
                    plain_softmax=("attention_factor", 1.0),
                ),
                longrope=LongropeReading(factor="ratio", attention_factor=False, mscales=True),
                dynamic="trained",
                partial_in_default=True,
                aliases=_ENGINE_ALIASES,
            ),
            Dialect(
                "sglang",
                "SGLang 0.5.23",
                _RULES,
                _SGLANG,
                mla=dataclasses.replace(
                    _SGLANG,
                    mscale="always",
                    truncate=False,
                    plain_softmax=("apply_yarn_scaling", False),
                ),
                longrope=LongropeReading(factor="ratio", attention_factor=False, mscales=True),
                dynamic="stretched",
                partial_in_default=True,
                optional_llama3=True,
                aliases=_ENGINE_ALIASES,
            ),
            Dialect(
                "deepseek",
                "DeepSeek-V3, inference code",
                frozenset({"default", "yarn"}),
                YarnReading(
                    top_level_length=False,
                    attention_factor=False,
                    mscale="never",
                    truncate=False,
                    needs_length=True,
                    on_qk=False,
                ),
                partial_in_default=True,
                softmax="always",
            ),
            Dialect(
                "original",
                "jquesnelle/yarn",
                frozenset({"default", "yarn"}),
                _ORIGINAL,
                partial_in_default=True,
                softmax="never",
            ),
        )
    }
)

# Implementations of which only these points of YaRN were read (autumn 2026): enough to tell that a
# config means another magnitude there, too little to resolve configs by.
_DROPS = YarnReading(attention_factor=False)
OTHER_ENGINES: Mapping[str, Dialect] = MappingProxyType(
    {
        name: Dialect(name, "read in autumn 2026", frozenset({"default", "yarn"}), yarn)
        for name, yarn in {
            "SGLang, fused QK-norm kernel of Qwen3 MoE": YarnReading(
                factor="ratio", betas="or_default"
            ),
            "TensorRT-LLM, fused": YarnReading(factor="ratio"),
            "vLLM, older releases": _DROPS,
            "TurboMind": YarnReading(factor="ratio", length="maximum"),
            "exllamav2": YarnReading(length="maximum", betas="fixed"),
            "exllamav3": YarnReading(factor="ratio"),
            "TGI": YarnReading(
                attention_factor=False, mscale="always", truncate=False, betas="fixed"
            ),
            "mlx-lm": YarnReading(attention_factor=False, mscale="always", truncate=False),
            "Megatron": dataclasses.replace(_DROPS, truncate=False),
            "aiter": dataclasses.replace(_DROPS, attn_factor=True, truncate=False),
        }.items()
    }
)
