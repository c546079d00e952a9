"""docs/model_types.md: the outcomes of the sweep over Transformers' model types, and its list."""

from __future__ import annotations

import textwrap

from tools.sweep import compare
from tools.sweep import table as sweep
from tools.sweep.forms import FORMS
from tools.sweep.listed import LISTED, SEVERAL_POSITIONS

from .marks import ROOT, replaced, table

PAGE = ROOT / "docs" / "model_types.md"
# Outcomes in the order of the page, each with its meaning.
MEANINGS = {
    compare.EQUAL: "the same bits of `inv_freq` and attention factor, in every layer type",
    compare.DIFFERS: "other bits; each of these forms is on the list below",
    compare.REFUSED: "refused here and not by the class; each of these forms is on the list below",
    compare.BOTH_REFUSE: "an error of the class, and an error here",
    compare.CLASS_REFUSES: "an error of the class; this package reads the form, with a warning",
    compare.NONE_REFUSED: "a model without a rotary embedding, refused by name",
    compare.NONE_WARNED: "a model whose parts rotate and not the whole; a warning",
    compare.SEVERAL_REFUSED: "a model that turns by several positions, refused by name",
    compare.BY_FUNCTION: "a module that rotates without a rotary class; not compared here",
}


def release() -> str:
    """Return the release of Transformers, and the number of model types."""
    version, entries = sweep.committed()
    return f"Transformers {version}, {len(entries)} model types.\n"


def outcomes() -> str:
    """Return the number of model types by form and outcome."""
    counts = sweep.counts(sweep.committed()[1])
    unknown = {kind for _, kind in counts} - MEANINGS.keys()
    assert not unknown, unknown
    rows = [
        [kind, *(str(counts[form, kind] or "") for form in FORMS), meaning]
        for kind, meaning in MEANINGS.items()
        if any(counts[form, kind] for form in FORMS)
    ]
    return table(["outcome", *FORMS, "meaning"], rows)


def listed() -> str:
    """Return the list: types, forms, the line of the class, the reason."""
    rows = [
        [
            ", ".join(each.types),
            ", ".join(each.forms),
            f"{each.name}: `{each.line}`",
            each.reason,
        ]
        for each in LISTED
    ]
    return table(["model types", "forms", "line of the class", "consequence"], rows)


def several() -> str:
    """Return the classes that turn by several positions, with a line of each."""
    rows = [[name, f"`{line}`"] for name, line in SEVERAL_POSITIONS.items()]
    rows.append(["all others", "`def compute_axial_rope_parameters(`"])
    return table(["class", "line of the class"], rows)


def names() -> str:
    """Return the names of the model types by what holds for all of their forms, or for some."""
    entries = sweep.committed()[1]
    groups: dict[str, list[str]] = {}
    for name, found in entries.items():
        kinds = {found} if isinstance(found, str) else {*found}
        rotates = kinds & {compare.EQUAL, compare.DIFFERS, compare.REFUSED, compare.BOTH_REFUSE}
        heading = "Read as the class does" if rotates else next(iter(sorted(kinds))).capitalize()
        groups.setdefault(heading, []).append(name)
    order = sorted(groups, key=lambda heading: (heading != "Read as the class does", heading))
    return "\n".join(_named(heading, groups[heading]) for heading in order)


def _named(heading: str, words: list[str]) -> str:
    return f"{heading} ({len(words)}):\n\n```\n{_wrapped(words)}\n```\n"


def _wrapped(words: list[str]) -> str:
    return textwrap.fill(" ".join(words), 100, break_long_words=False, break_on_hyphens=False)


def rewritten(text: str) -> str:
    """Return the page with fresh parts."""
    parts = {
        "release": release(),
        "outcomes": outcomes(),
        "listed": listed(),
        "several": several(),
        "names": names(),
    }
    return replaced(text, parts)
