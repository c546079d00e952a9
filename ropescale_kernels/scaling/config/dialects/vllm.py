"""vLLM."""

from __future__ import annotations

from types import MappingProxyType

from .dialect import Dialect, LongropeSemantics, YarnSemantics

VLLM = Dialect(
    name="vllm",
    release="vLLM 0.32",
    rules=frozenset({"default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional"}),
    yarn=YarnSemantics(mrope_length=4),
    mla=YarnSemantics(
        attention_factor=False,
        mscale="always",
        truncate=False,
        softmax_opt_out=("attention_factor", 1.0),
    ),
    longrope=LongropeSemantics(factor="ratio", attention_factor=False, mscales=True),
    dynamic="fixed_by_trained_positions",
    partial_in_default=True,
    aliases=MappingProxyType({"su": "longrope", "mrope": "default"}),
)
