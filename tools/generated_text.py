"""Parts of a page that scripts write: between `<!-- generated: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping


def replaced(text: str, parts: Mapping[str, str]) -> str:
    """Return a page with fresh parts.

    Args:
        text: The page.
        parts: What belongs between the marks of each name, ending with a newline.

    Raises:
        ValueError: If a name has not exactly one place.
    """
    for name, body in parts.items():
        pattern = rf"(<!-- generated: {re.escape(name)} -->\n).*?(<!-- end -->)"
        text, count = re.subn(
            pattern, lambda m, body=body: m[1] + body + m[2], text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"{name}: expected one place on the page, got {count}")
    return text
