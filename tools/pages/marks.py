"""The generated parts of a page: text between `<!-- generated: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def replaced(text: str, parts: Mapping[str, str]) -> str:
    """Return a page with fresh parts.

    Args:
        text: The page.
        parts: The new text between the marks of each name, ending with a newline.

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


def part(text: str, name: str) -> str:
    """Return the text between the marks of a name.

    Raises:
        ValueError: If the name has not exactly one place.
    """
    found = re.findall(rf"<!-- generated: {re.escape(name)} -->\n(.*?)<!-- end -->", text, re.S)
    if len(found) != 1:
        raise ValueError(f"{name}: expected one place on the page, got {len(found)}")
    return str(found[0])


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, ending with a newline."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
