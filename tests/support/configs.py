"""Configs resolved with their warnings caught, for tests that expect some."""

from __future__ import annotations

import warnings
from typing import Any

from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config.model_types.table import MODEL_TYPES


def resolve(raw: Any, **options: Any) -> tuple[RopeScaling, list[str]]:
    """Return a config's scaling, and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scaling = RopeScaling.from_hf_config(raw, **options)
    return scaling, [str(warning.message) for warning in caught]


def quiet(raw: Any, **options: Any) -> RopeScaling:
    """Return a config's scaling, whatever is said of it."""
    return resolve(raw, **options)[0]


def layers_of(model_type: str) -> list[str | None]:
    """Return the layer types whose parameters a class keeps apart, [None] where it has one set."""
    return [*MODEL_TYPES[model_type].layers] or [None]
