"""docs/performance.md: every figure of bench/results."""

from __future__ import annotations

from . import results
from .marks import ROOT, replaced

PAGE = ROOT / "docs" / "performance.md"


def rewritten(text: str) -> str:
    """Return the page with fresh parts."""
    parts = {
        "machine": results.machine(),
        "figures": results.figures(),
        "shapes": results.shapes(),
        "calls": results.calls(),
        "triton launch": results.triton_launch(),
    }
    return replaced(text, parts)
