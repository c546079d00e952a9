"""The code of YaRN's authors."""

from __future__ import annotations

from .dialect import Dialect, YarnSemantics

ORIGINAL = Dialect(
    name="original",
    release="jquesnelle/yarn",
    rules=frozenset({"default", "yarn"}),
    yarn=YarnSemantics(
        top_level_length=False,
        attention_factor=False,
        attn_factor=True,
        mscale="never",
        truncate=False,
        extrapolation_factor=True,
    ),
    partial_in_default=True,
    softmax="never",
)
