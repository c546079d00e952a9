"""DeepSeek's own inference code, which runs DeepSeek's models and no others."""

from __future__ import annotations

from .dialect import Dialect, YarnSemantics

DEEPSEEK = Dialect(
    name="deepseek",
    release="DeepSeek-V3, inference code",
    rules=frozenset({"default", "yarn"}),
    yarn=YarnSemantics(
        top_level_length=False,
        attention_factor=False,
        mscale="never",
        truncate=False,
        only_beyond_original_length=True,
        scales_q_and_k=False,
    ),
    partial_in_default=True,
    softmax="always",
)
