"""How each implementation reads a config, as data: one file an engine, with its release."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .deepseek import DEEPSEEK
from .dialect import Dialect, LongropeSemantics, YarnSemantics
from .hf import HF, HF_4_45, HF_4_51
from .original import ORIGINAL
from .other_engines import OTHER_ENGINES
from .sglang import SGLANG
from .vllm import VLLM

# The dialect that others are compared with.
BASELINE = HF.name

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {dialect.name: dialect for dialect in (HF, HF_4_51, HF_4_45, VLLM, SGLANG, DEEPSEEK, ORIGINAL)}
)

__all__ = [
    "BASELINE",
    "DIALECTS",
    "OTHER_ENGINES",
    "Dialect",
    "LongropeSemantics",
    "YarnSemantics",
]
