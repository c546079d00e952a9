"""SGLang."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

from .dialect import Dialect, LongropeSemantics, YarnSemantics

_YARN = YarnSemantics(
    factor="or_one",
    attention_factor=False,
    attn_factor=True,
    mscale="both_present",
    mrope_mscale=False,
    extrapolation_factor=True,
)
SGLANG = Dialect(
    name="sglang",
    release="SGLang 0.5.23",
    rules=frozenset({"default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional"}),
    yarn=_YARN,
    mla=dataclasses.replace(
        _YARN, mscale="always", truncate=False, softmax_opt_out=("apply_yarn_scaling", False)
    ),
    longrope=LongropeSemantics(factor="ratio", attention_factor=False, mscales=True),
    dynamic="fixed_at_max",
    partial_in_default=True,
    optional_llama3=True,
    aliases=MappingProxyType({"su": "longrope", "mrope": "default"}),
)
