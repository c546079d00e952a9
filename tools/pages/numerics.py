"""docs/numerics.md: the accuracy that `ropescale verify` measured."""

from __future__ import annotations

from . import results
from .marks import ROOT, replaced

PAGE = ROOT / "docs" / "numerics.md"


def rewritten(text: str) -> str:
    """Return the page with fresh parts."""
    return replaced(text, {"accuracy": results.accuracy(), "bound": results.bound()})
