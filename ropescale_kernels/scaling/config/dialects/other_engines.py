"""Implementations of which only the points of YaRN below were read.

These points tell that a config means another magnitude there. They are too few to resolve configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .dialect import Dialect, YarnSemantics

_WHEN = "autumn 2026"
LLAMA_CPP_RELEASE = f"llama.cpp, {_WHEN}"
OTHER_ENGINES: Mapping[str, Dialect] = MappingProxyType(
    {
        name: Dialect(name, f"read in {_WHEN}", frozenset({"default", "yarn"}), yarn)
        for name, yarn in {
            "SGLang, fused QK-norm kernel of Qwen3 MoE": YarnSemantics(
                factor="ratio", betas="or_default"
            ),
            "TensorRT-LLM, fused": YarnSemantics(factor="ratio"),
            "vLLM, older releases": YarnSemantics(attention_factor=False),
            "TurboMind": YarnSemantics(factor="ratio", length="maximum"),
            "exllamav2": YarnSemantics(length="maximum", betas="fixed"),
            "exllamav3": YarnSemantics(factor="ratio"),
            "TGI": YarnSemantics(
                attention_factor=False, mscale="always", truncate=False, betas="fixed"
            ),
            "mlx-lm": YarnSemantics(attention_factor=False, mscale="always", truncate=False),
            "Megatron": YarnSemantics(attention_factor=False, truncate=False),
            "aiter": YarnSemantics(attention_factor=False, attn_factor=True, truncate=False),
        }.items()
    }
)
