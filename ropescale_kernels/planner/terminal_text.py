"""Text of an untrusted config, fit for a terminal and a picture."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text with control characters written out, but for ends of lines."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
