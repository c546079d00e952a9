"""The rule of a scaling, which answers the planner's questions about the scaling."""

from __future__ import annotations

from ..scaling import RopeScaling
from ..scaling.parameters import Parameters
from ..scaling.rules import RULES
from ..scaling.rules.rule import Rule


def rule_of(scaling: RopeScaling) -> Rule:
    """Return the rule of a scaling."""
    return RULES[scaling.rope_type]


def parameters_of(scaling: RopeScaling) -> Parameters:
    """Return the checked parameters of a scaling."""
    return scaling._parameters


def title_of(rope_type: object) -> str:
    """Return the name of a rule in a sentence."""
    rule = RULES[str(rope_type)]
    return rule.title or rule.rope_type
