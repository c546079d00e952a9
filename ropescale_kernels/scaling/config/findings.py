"""Findings about a config: warnings, and keys without an effect."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Findings:
    """Collector of everything that the readers of a config find. The readers add to it.

    Attributes:
        notes: Warnings, in the order of their finding.
        losses: The warnings about whole dicts of rope parameters without an effect.
        ignored: Keys without an effect, each with a value. They are put into words at the end,
            because only then all keys with an effect are known.
    """

    notes: list[str] = dataclasses.field(default_factory=list)
    losses: list[str] = dataclasses.field(default_factory=list)
    ignored: list[tuple[str, object]] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a warning."""
        self.notes.append(text)

    def lose(self, text: str) -> None:
        """Add a warning about rope parameters without an effect, which strict reading refuses."""
        self.notes.append(text)
        self.losses.append(text)

    def ignore(self, key: str, value: object) -> None:
        """Add a key without an effect."""
        self.ignored.append((key, value))

    def copy(self) -> Findings:
        """Return a collector that starts with the same findings."""
        return Findings([*self.notes], [*self.losses], [*self.ignored])
