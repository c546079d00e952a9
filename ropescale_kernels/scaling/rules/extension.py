"""The terms in which a rule answers a plan for a longer context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class LongerContext:
    """A model, and the context that a plan wants it to serve.

    Attributes:
        target: Length wanted, tokens.
        original: L, the length of training, tokens.
        maximum: The length that the config serves, tokens.
        given: The rope parameters of the config.
        kept: Rope parameters that stay whatever the rule: M-RoPE, and the share of a head.
    """

    target: int
    original: int
    maximum: int
    given: Mapping[str, object]
    kept: Mapping[str, object]


@dataclass(frozen=True)
class Extension:
    """New rope parameters of one layer type.

    Attributes:
        rope: The parameters, `rope_type` and `rope_theta` among them.
        factor: Context extension factor.
        remarks: Warnings about the parameters.
    """

    rope: dict[str, object]
    factor: float
    remarks: list[str] = field(default_factory=list)


class LlamaCpp(NamedTuple):
    """The flags of llama.cpp that give a scaling.

    Attributes:
        flags: Words of the command line.
        attention_factor: Factor on cos and sin that llama.cpp computes from the flags.
    """

    flags: list[str]
    attention_factor: float
