"""The scaling rules, one file each, and the table of them."""

from __future__ import annotations

from ...errors import RopeScaleConfigError, RopeScaleUnsupportedError, expected
from .. import validate as check
from ..config.rope_entry import RopeEntry
from .default import Default
from .dynamic_ntk import DynamicNtk
from .dynamic_yarn import DynamicYarn
from .linear import Linear
from .llama3 import Llama3
from .longrope import Longrope
from .ntk import Ntk
from .ntk_by_parts import NtkByParts
from .proportional import Proportional
from .rule import ConfigRule, Rule
from .yarn import Yarn

RULES: dict[str, Rule] = {
    rule.rope_type: rule
    for rule in (
        Default(),
        Linear(),
        Ntk(),
        DynamicNtk(),
        NtkByParts(),
        Yarn(),
        DynamicYarn(),
        Llama3(),
        Longrope(),
        Proportional(),
    )
}


def rule_of(entry: RopeEntry) -> ConfigRule:
    """Return the rule that reads an entry.

    Raises:
        RopeScaleConfigError: If no config rule has the name, or if the class of the model type
            refuses the rule.
        RopeScaleUnsupportedError: If the dialect of the entry does not have the rule.
    """
    rule = RULES.get(entry.rope_type)
    known = sorted(entry.dialect.rules)
    if not isinstance(rule, ConfigRule):
        requirement, close = f"one of {known}", entry.rope_type[:100].lower()
        hint = f"Did you mean {close!r}?" if close in known else ""
        raise RopeScaleConfigError(
            expected("rope_type", requirement, check.shown(entry.rope_type), hint)
        )
    if entry.rope_type not in entry.dialect.rules:
        requirement = f"one of {known}, which is all that dialect {entry.dialect.name!r} has"
        raise RopeScaleUnsupportedError(expected("rope_type", requirement, repr(entry.rope_type)))
    # A class of Transformers may refuse rules; its model in an engine need not.
    own = entry.model.rules if entry.dialect.class_axes else frozenset()
    if own and entry.rope_type not in own:
        requirement = f"one of {sorted(own)} in a {entry.model_type} model"
        raise RopeScaleConfigError(expected("rope_type", requirement, repr(entry.rope_type)))
    return rule


def rope_keys() -> frozenset[str]:
    """Return the config keys that are about a rule or the position axes wherever they stand."""
    own = (rule.own_keys for rule in RULES.values() if isinstance(rule, ConfigRule))
    return frozenset({"mrope_section", "mrope_interleaved"}).union(*own)
