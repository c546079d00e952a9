"""README.md: the figure of its first sentence, and four rows of accuracy."""

from __future__ import annotations

import re

from . import results
from .marks import ROOT, replaced

PAGE = ROOT / "README.md"
# A usual context, two long ones, and the last position of the contract.
POSITIONS = (32_767, 131_071, 1_048_575, 2**34 - 1)


def rewritten(text: str) -> str:
    """Return README with fresh parts."""
    text = replaced(text, {"accuracy": results.accuracy(POSITIONS)})
    default, retain = (results.headline(malloc) for malloc in ("default", "retain"))
    fresh = f"in {default:.2f} of the time of copying them, {retain:.2f} if malloc retains memory"
    pattern = r"in \d\.\d\d of the time of copying them, \d\.\d\d if malloc retains memory"
    text, count = re.subn(pattern, fresh, text)
    if count != 1:
        raise ValueError(f"README.md: expected one place for the headline, got {count}")
    return text
