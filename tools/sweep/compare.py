"""One form of a model type's config, read by its class and by this package."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import torch

from ropescale_kernels.errors import RopeScaleConfigError, RopeScaleUnsupportedError
from ropescale_kernels.scaling import RopeScaling

from .forms import Form, Subject
from .rotary import Numbers, load, numbers, places, rotary_class, text_config

# The class computes frequencies. This package has the same, others, or refuses the form.
EQUAL = "equal"
DIFFERS = "differs"
REFUSED = "refused"
# The class raises an error. This package refuses the form, too, or reads it.
BOTH_REFUSE = "both refuse"
CLASS_REFUSES = "the class alone refuses"
# The model has no rotary embedding, or one of several positions, such as the row and the column of
# a patch. This package refuses the form, warns, or says nothing.
NONE_REFUSED = "no rotation: refused"
NONE_WARNED = "no rotation: a warning"
NONE_SILENT = "no rotation: silent"
SEVERAL_REFUSED = "several positions: refused"
SEVERAL_READ = "several positions: read"
# The model rotates by a function of its module, which has no rotary class.
BY_FUNCTION = "by a function"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the two readings of a form compare.

    Attributes:
        kind: One of the names above.
        detail: The difference, or the errors.
    """

    kind: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class _Reading:
    scaling: RopeScaling | None
    error: str
    warned: bool


def rotary_of(subject: Subject) -> type | None:
    """Return the class that rotates in models of a type, if only for some of its configs."""
    if subject.text is None:
        return None
    found = places(type(subject.text))
    return load(type(subject.text), found[0].rotary) if found else None


def compare(form: Form, rotary: type | None, *, several: bool = False) -> Outcome:
    """Return how this package and the class read a form.

    Args:
        form: The form.
        rotary: The rotary class of the model type, or None if the model type has none.
        several: Whether the rotary class turns by several positions.
    """
    if rotary is None:
        return _without(form)
    if several or hasattr(rotary, "compute_axial_rope_parameters"):
        return _of_readings(form, SEVERAL_REFUSED, SEVERAL_READ, SEVERAL_READ)
    try:
        text = text_config(form.build())
        built = rotary_class(text)
        theirs = {} if built is None else numbers(built, text)
    except Exception as error:  # Classes refuse with errors of many kinds.
        ours = _of_readings(form, BOTH_REFUSE, CLASS_REFUSES, CLASS_REFUSES)
        return Outcome(ours.kind, f"{type(error).__name__}: {error} / {ours.detail}")
    return _compared(form, theirs) if theirs else _without(form)


def _without(form: Form) -> Outcome:
    return _of_readings(form, NONE_REFUSED, NONE_WARNED, NONE_SILENT)


def _of_readings(form: Form, refused: str, warned: str, silent: str) -> Outcome:
    """Return the worst of three kinds that the readings of a form's spellings have."""
    readings = [_read(given, None) for given in form.given]
    read = [reading for reading in readings if reading.scaling is not None]
    if not read:
        return Outcome(refused, readings[0].error)
    return Outcome(warned if all(reading.warned for reading in read) else silent)


def _compared(form: Form, theirs: Numbers) -> Outcome:
    kinds: set[str] = set()
    details: list[str] = []
    for given, (layer_type, want) in itertools.product(form.given, theirs.items()):
        ours = _read(given, layer_type)
        if ours.scaling is None:
            kinds.add(REFUSED)
            details.append(f"{layer_type}: {ours.error}")
            continue
        got = (ours.scaling.inv_freq, ours.scaling.attention_factor)
        if not torch.equal(got[0], want[0]) or got[1] != want[1]:
            kinds.add(DIFFERS)
            details.append(f"{layer_type}: expected {_shown(*want)}, got {_shown(*got)}")
    kind = DIFFERS if DIFFERS in kinds else REFUSED if kinds else EQUAL
    return Outcome(kind, "; ".join(dict.fromkeys(details)))


def _shown(inv_freq: torch.Tensor, attention_factor: float) -> str:
    first = ", ".join(f"{value:.6g}" for value in inv_freq[:3].tolist())
    return f"{len(inv_freq)} frequencies {first}, ..., factor {attention_factor:.6g}"


def _read(given: Any, layer_type: str | None) -> _Reading:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            scaling = RopeScaling.from_hf_config(given, layer_type=layer_type)
        except (RopeScaleConfigError, RopeScaleUnsupportedError) as error:
            return _Reading(None, str(error), bool(caught))
    return _Reading(scaling, "", bool(caught))
