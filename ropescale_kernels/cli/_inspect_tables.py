"""Tables of `ropescale inspect`."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..planner.compare import DialectResult
from ..planner.inspect import BLENDED, INTERPOLATED, KEPT, NOT_ROTATED, Inspection
from ..planner.terminal_text import printable
from ..scaling.config.dialects import DIALECTS
from ._tables import new_table

_FATES = {KEPT: "green", BLENDED: "yellow", INTERPOLATED: "red", NOT_ROTATED: "dim"}
DIFFERS = "bold yellow"


def numbers_table(inspection: Inspection) -> Table:
    """Return the table of the scaling's numbers."""
    layer = "" if inspection.layer_type is None else f", layers of type {inspection.layer_type}"
    release = DIALECTS[inspection.dialect].release
    title = printable(f"Scaling in dialect {inspection.dialect}{layer} ({release})")
    table = new_table(title, title_style="bold", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in inspection.numbers.items():
        table.add_row(name, number(value))
    return table


def pairs_table(inspection: Inspection) -> Table:
    """Return the table of pairs and their treatment."""
    title = "Pairs (wavelength in tokens, turns over the trained length)"
    table = new_table(title, title_style="bold")
    headings = ("pair", "wavelength", "turns", "ramp", "divided by", "scaled")
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
    """Return the table of every dialect; a number that differs from "hf" is marked."""
    title = "Scaling in each dialect (* differs from hf)"
    table = new_table(title, title_style="bold")
    table.add_column("", overflow="fold")
    for heading in ("factor", "L", "attention factor", "softmax multiplier", "inv_freq off by"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("release", overflow="fold")
    for result in inspection.readings:
        release = Text(result.release, style="dim")
        if result.error is not None:
            table.add_row(result.dialect, Text("refused", style=DIFFERS), *[""] * 4, release)
            continue
        length = result.original_max_position_embeddings
        off = "" if not result.inv_freq_error else f"{result.inv_freq_error:.2%} *"
        if "rotary_dim" in result.differs:
            off = f"of {result.rotary_dim} channels *"
        table.add_row(
            result.dialect,
            _marked(result, "factor"),
            "" if length is None else f"{length:,}",
            _marked(result, "attention_factor"),
            _marked(result, "softmax_scale_multiplier"),
            Text(off, style=DIFFERS),
            release,
        )
    return table


def remarks(inspection: Inspection) -> RenderableType:
    """Return warnings and refusals, each once, with the dialects that give it."""
    said: dict[str, list[str]] = {}
    for result in inspection.readings:
        refusal = [] if result.error is None else [f"refused: {result.error}"]
        for warning in (*result.warnings, *refusal):
            # Texts of two dialects differ in the dialect's name alone.
            text = warning.replace(f"dialect {result.dialect!r}", "the dialect")
            said.setdefault(text, []).append(result.dialect)
    lines = [Text(printable(f"- {', '.join(names)}: {text}")) for text, names in said.items()]
    return Group(Text("Warnings", style="bold"), *lines) if lines else Text("No warnings")


def number(value: object, digits: int = 10) -> str:
    """Return a short text for a number or any other value."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def _marked(result: DialectResult, name: str) -> Text:
    text = number(getattr(result, name), 8)
    return Text(f"{text} *", style=DIFFERS) if name in result.differs else Text(text)
