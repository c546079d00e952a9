"""Checks of a GPU report's figures: the copy rate of the card, a repetition, and predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PREDICTIONS = Path(__file__).with_name("predictions.json")
# The case that is measured twice, and that a copy's rate is read from.
MODEL, DTYPE, TOKENS = "llama-3.1-8b", "bfloat16", 32768
OF_COPY_RATE, OF_REPETITION = 0.15, 0.05
_REPEATED = ("copy", "ours, in place")

Row = dict[str, Any]


def card_of(device: dict[str, Any] | None) -> str | None:
    """Return the key of a card in the tables, such as "H100"; None for a card without one."""
    cards: dict[str, str] = json.loads(PREDICTIONS.read_text())["cards"]
    return cards.get(str((device or {}).get("name", "")))


def _rows(bench: dict[str, Any] | None, **wanted: object) -> list[Row]:
    rows: list[Row] = (bench or {}).get("rows", [])
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _time(bench: dict[str, Any] | None, entry: str) -> Row | None:
    found = _rows(
        bench,
        model=MODEL,
        dtype=DTYPE,
        tokens=TOKENS,
        entry=entry,
        cache="hot",
        layout="contiguous",
    )
    return found[0] if found else None


def sanity(
    bench: dict[str, Any] | None, repeat: dict[str, Any] | None, device: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Hold a bench against what has to be so on any sound run.

    Args:
        bench: A report of `ropescale bench`, as JSON.
        repeat: One of a second process, with the repeated case.
        device: Describes the card; its "name" is read.

    Returns:
        For each check its name, what was wanted, what was found, and whether it passed: None where
        there is nothing to check.
    """
    rates = json.loads(PREDICTIONS.read_text())["copy_gb_per_s"]
    card, copy = card_of(device), _time(bench, "copy")
    ratio = copy["gb_per_s"] / rates[card] if card and copy else None
    found = [
        {
            "check": f"rate of a copy of {TOKENS} tokens",
            "wanted": f"within {OF_COPY_RATE:.0%} of the card's {rates[card]} GB/s"
            if card
            else "the copy rate of this card is not known",
            "found": f"{copy['gb_per_s']:.0f} GB/s" if copy else "not measured",
            "passed": None if ratio is None else abs(ratio - 1) <= OF_COPY_RATE,
            "unknown_card": card is None,
        }
    ]
    for entry in _REPEATED:
        first, second = _time(bench, entry), _time(repeat, entry)
        both = first and second
        apart = second["p50"] / first["p50"] - 1 if first and second else 0.0
        found.append(
            {
                "check": f"{entry} at {TOKENS} tokens, measured twice",
                "wanted": f"within {OF_REPETITION:.0%}",
                "found": f"{apart:+.1%}" if both else "not measured",
                "passed": abs(apart) <= OF_REPETITION if both else None,
            }
        )
    return found


def predictions(
    bench: dict[str, Any] | None, device: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Put predicted times beside the measured ones, in microseconds.

    A call of few tokens is read from a CUDA graph of many calls, as its prediction is.
    """
    known = json.loads(PREDICTIONS.read_text())
    card = card_of(device)
    if card is None:
        return []
    found = []
    for case in known["microseconds"]:
        for entry, predicted in zip(known["entries"], case[card], strict=True):
            shape = {key: case[key] for key in ("model", "dtype", "tokens")}
            rows = _rows(bench, **shape, entry=entry, layout="contiguous", context=32768)
            by_cache = {row["cache"]: row for row in rows}
            row = by_cache.get("graph") or by_cache.get("hot")
            if predicted is None or row is None:
                continue
            found.append(
                shape
                | {
                    "entry": entry,
                    "card": card,
                    "cache": row["cache"],
                    "predicted": predicted,
                    "measured": row["p50"],
                    "ratio": round(row["p50"] / predicted, 3),
                }
            )
    return found
