"""Transformers: the present release, and two older ways of reading YaRN and LongRoPE."""

from __future__ import annotations

from .dialect import Dialect, LongropeSemantics, YarnSemantics

_RULES_OF_4 = frozenset({"default", "linear", "dynamic", "yarn", "llama3", "longrope"})

HF = Dialect(
    name="hf",
    release="Transformers 5.23",
    rules=_RULES_OF_4 | {"proportional"},
    yarn=YarnSemantics(null_factor=True, nested_truncate=False, betas="or_default"),
    class_axes=True,
)
HF_4_51 = Dialect(
    name="hf-4.51",
    release="Transformers 4.51 to 4.53",
    rules=_RULES_OF_4,
    yarn=YarnSemantics(
        factor="ratio",
        top_level_length=False,
        truncate=False,
        nested_truncate=False,
        betas="or_default",
    ),
    longrope=LongropeSemantics(factor="top_level"),
    rope_parameters=False,
    partial_in_default=True,
    class_axes=True,
)
HF_4_45 = Dialect(
    name="hf-4.45",
    release="Transformers 4.45 to 4.49",
    rules=_RULES_OF_4,
    yarn=YarnSemantics(
        length="maximum",
        top_level_length=False,
        mscale="never",
        truncate=False,
        nested_truncate=False,
        betas="or_default",
    ),
    longrope=LongropeSemantics(factor="top_level", long="always"),
    rope_parameters=False,
    partial_in_default=True,
    class_axes=True,
)
