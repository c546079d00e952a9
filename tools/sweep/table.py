"""The table of outcomes: one entry for each model type, in tests/fixtures/model_types.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .compare import BY_FUNCTION, Outcome, compare, rotary_of
from .forms import FORMS, subject
from .listed import LISTED, SEVERAL_POSITIONS, WITHOUT_A_CLASS

FILE = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "model_types.json"
# The outcome of all forms of a type, or the forms of each outcome.
Entry = str | dict[str, list[str]]


def model_types() -> list[str]:
    """Return the model types that the installed Transformers knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return sorted(CONFIG_MAPPING_NAMES)


def outcomes(model_type: str) -> dict[str, Outcome]:
    """Return the outcome of each form of a model type."""
    if model_type in WITHOUT_A_CLASS:
        return dict.fromkeys(FORMS, Outcome(BY_FUNCTION))
    found = subject(model_type)
    rotary = rotary_of(found)
    several = rotary is not None and rotary.__name__ in SEVERAL_POSITIONS
    return {form.name: compare(form, rotary, several=several) for form in found.forms()}


def entry(found: Mapping[str, Outcome]) -> Entry:
    """Return the entry of a model type."""
    kinds: dict[str, list[str]] = {}
    for form, outcome in found.items():
        kinds.setdefault(outcome.kind, []).append(form)
    return next(iter(kinds)) if len(kinds) == 1 and [*found] == [*FORMS] else kinds


def document(entries: Mapping[str, Entry]) -> dict[str, object]:
    """Return the content of the file."""
    import transformers

    return {"transformers": transformers.__version__, "types": dict(entries)}


def text(content: Mapping[str, object]) -> str:
    """Return the text of the file."""
    return json.dumps(content, indent=1) + "\n"


def committed() -> tuple[str, dict[str, Entry]]:
    """Return the release and the entries of the committed file."""
    content = json.loads(FILE.read_text())
    return content["transformers"], content["types"]


def forms_of(entries: Mapping[str, Entry]) -> Iterator[tuple[str, str, str]]:
    """Yield each model type, form and outcome."""
    for model_type, found in entries.items():
        kinds = {found: list(FORMS)} if isinstance(found, str) else found
        for kind, forms in kinds.items():
            yield from ((model_type, form, kind) for form in forms)


def counts(entries: Mapping[str, Entry]) -> Counter[tuple[str, str]]:
    """Return the number of model types by form and outcome."""
    return Counter((form, kind) for _, form, kind in forms_of(entries))


def listed_forms() -> set[tuple[str, str]]:
    """Return the model types and forms of the list."""
    return {(name, form) for each in LISTED for name in each.types for form in each.forms}


def unlisted(entries: Mapping[str, Entry], kinds: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return the forms with one of these outcomes that are not on the list."""
    wanted, listed = set(kinds), listed_forms()
    return [each for each in forms_of(entries) if each[2] in wanted and each[:2] not in listed]
