"""Picture of a scaling's pairs: needs matplotlib (`pip install 'ropescale_kernels[plot]'`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .inspect import BLENDED, INTERPOLATED, KEPT, NOT_ROTATED, Inspection, Pair
from .terminal_text import printable

# A mark for each treatment, so that pairs can be told apart without colour.
_MARKS = {
    KEPT: ("#2e4057", "o"),
    BLENDED: ("#edae49", "D"),
    INTERPOLATED: ("#d1495b", "s"),
    NOT_ROTATED: ("#888888", "x"),
}


def write_ramp_plot(inspections: list[Inspection], path: Path) -> None:
    """Draw each pair's wavelength before and after scaling, and the divisor of the frequency.

    Args:
        inspections: One for each layer type; each gets a column.
        path: The file; the suffix chooses the format.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    look: dict[Any, Any] = {
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(look):
        figure = Figure(figsize=(6.4 * len(inspections), 6.0), layout="constrained")
        grid = figure.subplots(2, len(inspections), sharex="col", squeeze=False)
        for column, inspection in enumerate(inspections):
            _draw(inspection, grid[0][column], grid[1][column])
        figure.savefig(path, dpi=130)


def _draw(inspection: Inspection, upper: Any, lower: Any) -> None:
    numbers = inspection.numbers
    # A dollar sign in an untrusted config would begin a formula.
    layer = printable(inspection.layer_type or "").replace("$", r"\$")
    name = f"{layer}: " if layer else ""
    upper.set_title(
        f"{name}{numbers['rope_type']}, factor {numbers['factor']:g}, "
        f"attention factor {numbers['attention_factor']:.6g}",
        loc="left",
        fontsize=9,
    )
    turning = [pair for pair in inspection.pairs if pair.fate != NOT_ROTATED]
    upper.plot(
        [pair.index for pair in turning],
        [pair.wavelength for pair in turning],
        color="#888888",
        linewidth=1,
        label="before scaling",
    )
    length = numbers.get("original_max_position_embeddings")
    if length is not None:
        upper.axhline(length, color="#66a182", linestyle="--", linewidth=1)
        upper.annotate(
            f"L = {length:,} tokens",
            (1.0, length),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
            color="#66a182",
        )
    for fate, (colour, mark) in _MARKS.items():
        chosen = [pair for pair in inspection.pairs if pair.fate == fate]
        if chosen:
            _marks(chosen, fate, colour, mark, upper, lower)
    upper.set_yscale("log")
    upper.set_ylabel("tokens of one turn")
    upper.legend(fontsize=8)
    lower.set_ylabel("frequency divided by (marks)")
    ramp = lower.twinx()
    ramp.plot(
        [pair.index for pair in inspection.pairs],
        [pair.ramp for pair in inspection.pairs],
        color="#888888",
        linestyle=":",
    )
    ramp.set_ylim(-0.04, 1.08)
    ramp.set_ylabel("ramp (dotted)")
    ramp.grid(visible=False)
    lower.set_xlabel("pair")
    most = max((pair.divided_by or 1 for pair in inspection.pairs), default=1)
    lower.set_ylim(-0.04 * most, 1.08 * most)


def _marks(chosen: list[Pair], fate: str, colour: str, mark: str, upper: Any, lower: Any) -> None:
    index = [pair.index for pair in chosen]
    style = {"color": colour, "marker": mark, "markersize": 4, "linestyle": "none"}
    after = [pair.scaled_wavelength or pair.wavelength for pair in chosen]
    upper.plot(index, after, label=f"{fate} ({len(chosen)})", **style)
    lower.plot(index, [pair.divided_by or 0 for pair in chosen], **style)
