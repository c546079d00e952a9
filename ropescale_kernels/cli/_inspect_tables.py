"""What `ropescale inspect` prints."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..planner.compare import DialectResult
from ..planner.inspect import BLENDED, INTERPOLATED, KEPT, NOT_ROTATED, Inspection
from ..planner.terminal_text import printable
from ._tables import new_table

_FATES = {KEPT: "green", BLENDED: "yellow", INTERPOLATED: "red", NOT_ROTATED: "dim"}
DIFFERS = "bold yellow"


def numbers_table(inspection: Inspection) -> Table:
    """Show the resolved numbers."""
    layer = "" if inspection.layer_type is None else f" of {inspection.layer_type}"
    title = printable(f"what dialect {inspection.dialect} resolves{layer}")
    table = new_table(title, title_style="bold", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in inspection.numbers.items():
        table.add_row(name, number(value))
    return table


def pairs_table(inspection: Inspection) -> Table:
    """Show each pair, and what happens to it."""
    table = new_table("pairs", title_style="bold")
    headings = ("pair", "tokens a turn", "turns", "ramp", "divided by", "then a turn")
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("")
    for pair in inspection.pairs:
        table.add_row(
            str(pair.index),
            number(pair.wavelength, 6),
            number(pair.turns, 4),
            number(pair.ramp, 4),
            number(pair.divided_by, 6),
            number(pair.scaled_wavelength, 6),
            Text(pair.fate, style=_FATES[pair.fate]),
        )
    return table


def readings_table(inspection: Inspection) -> Table:
    """Show every dialect side by side; what differs from the first is marked."""
    title = "what each dialect makes of it (* differs from hf)"
    table = new_table(title, title_style="bold")
    table.add_column("", overflow="fold")
    for heading in ("factor", "L", "attention", "softmax", "inv_freq error"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("read in", overflow="fold")
    for reading in inspection.readings:
        release = Text(reading.release, style="dim")
        if reading.error is not None:
            table.add_row(reading.dialect, Text("refused", style=DIFFERS), *[""] * 4, release)
            continue
        length = reading.original_max_position_embeddings
        off = "" if not reading.inv_freq_error else f"{reading.inv_freq_error:.2%} *"
        if "rotary_dim" in reading.differs:
            off = f"of {reading.rotary_dim} channels *"
        table.add_row(
            reading.dialect,
            _marked(reading, "factor"),
            "" if length is None else f"{length:,}",
            _marked(reading, "attention_factor"),
            _marked(reading, "softmax_scale_multiplier"),
            Text(off, style=DIFFERS),
            release,
        )
    return table


def remarks(inspection: Inspection) -> RenderableType:
    """Say in words what to look out for, each thing once, with the dialects that say it."""
    said: dict[str, list[str]] = {}
    for reading in inspection.readings:
        refusal = [] if reading.error is None else [f"refused: {reading.error}"]
        for warning in (*reading.warnings, *refusal):
            # What differs between dialects is their name and nothing else.
            text = warning.replace(f"dialect {reading.dialect!r}", "the dialect")
            said.setdefault(text, []).append(reading.dialect)
    lines = [Text(printable(f"{', '.join(names)}: {text}")) for text, names in said.items()]
    return Group(*lines) if lines else Text("no warnings")


def number(value: object, digits: int = 10) -> str:
    """Word a number, or anything else, shortly."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def _marked(reading: DialectResult, name: str) -> Text:
    text = number(getattr(reading, name), 8)
    return Text(f"{text} *", style=DIFFERS) if name in reading.differs else Text(text)
