"""Pictures of a report. They need matplotlib (`pip install 'ropescale_kernels[plot]'`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .cases import HEADLINE, WINDOW
from .report import CallCost, Report, Row, short

# Lines differ without colour too: ours are solid, the others broken, and each has its own mark.
_STYLES = {
    "copy": ("#888888", "-", None),
    "ours, in place": ("#d1495b", "-", "o"),
    "ours, out=": ("#f2a1a8", "-", "h"),
    "ours": ("#edae49", "-", "s"),
    "unfused torch ops": ("#66a182", "--", "v"),
    "Transformers eager": ("#2e4057", "--", "^"),
    "torch.compile": ("#00798c", "--", "D"),
    "torch.compile, dynamic": ("#5fa8b3", ":", "d"),
    "onnxruntime": ("#8d6a9f", "--", "P"),
    "Liger-Kernel": ("#b56576", "--", "X"),
    "FlashInfer": ("#355070", "--", "*"),
    "SGLang JIT rope": ("#6d597a", "--", "p"),
}
_LOOK: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_TICKS_OF_X_COPY = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def write_plots(report: Report, folder: Path, metadata: dict[str, str] | None = None) -> list[Path]:
    """Draw the pictures that a report has rows for.

    Args:
        report: Report of a run with the suites "tokens" and "context".
        folder: Folder of the pictures; made if it does not exist.
        metadata: Text to keep in the PNG files.

    Returns:
        The files written: all or some of x-copy.png, error.png and context.png.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawings: dict[str, Callable[[Report, Any], bool]] = {
        "x-copy.png": _x_copy_by_tokens,
        "error.png": _error_by_position,
        "context.png": _cost_by_context,
    }
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_LOOK):
        for name, draw in drawings.items():
            # pyplot would keep global state and ask for a display.
            figure = Figure(figsize=(7.5, 4.2), dpi=150, layout="constrained")
            if draw(report, figure):
                figure.savefig(folder / name, metadata=metadata)
                written.append(folder / name)
    return written


def _x_copy_by_tokens(report: Report, figure: Any) -> bool:
    """Draw x copy against tokens, one panel for each state of the caches."""
    malloc = _malloc(report)
    rows = [
        row
        for row in report.rows
        if (row.model, row.dtype, row.layout, row.malloc)
        == (HEADLINE, "bfloat16", "contiguous", malloc)
        and row.context == max(WINDOW, row.tokens)
        and row.entry in _STYLES
    ]
    panels = [c for c in ("hot", "flushed") if len({r.tokens for r in rows if r.cache == c}) > 2]
    if not panels:
        return False
    tokens = sorted({row.tokens for row in rows})
    slowest = max(row.x_copy for row in rows)
    for axes, cache in zip(_panels(figure, len(panels)), panels, strict=True):
        found = [row for row in rows if row.cache == cache]
        _draw(axes, _lines(found, lambda row: (row.tokens, row.x_copy)))
        _name_ticks(axes, tokens)
        axes.set_yscale("log")
        axes.set_yticks([y for y in _TICKS_OF_X_COPY if y < 1.5 * slowest])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_yticks([], minor=True)
        axes.set(xlabel="tokens", title=f"caches {cache}")
    figure.axes[0].set_ylabel("time over the time of a copy")
    _legend_below(figure)
    figure.suptitle(
        f"q (tokens, 32, 128), k (tokens, 8, 128), bfloat16, malloc {malloc}\n{_place(report)}",
        fontsize=9,
    )
    return True


def _error_by_position(report: Report, figure: Any) -> bool:
    """Draw the largest error of cos and sin against position, one panel for each dtype."""
    kinds = {cost.dtype for cost in report.facts}
    dtypes = [dtype for dtype in ("float32", "bfloat16", "float16") if dtype in kinds]
    if not dtypes:
        return False
    for axes, dtype in zip(_panels(figure, len(dtypes)), dtypes, strict=True):
        _draw(axes, _curves((c for c in report.facts if c.dtype == dtype), lambda c: c.error))
        _name_ticks(axes, sorted(report.facts[0].error))
        axes.set_yscale("log")
        axes.set(xlabel="position", title=f"outputs in {dtype}")
        axes.legend(fontsize=6.5, frameon=False)
    figure.axes[0].set_ylabel("largest error of cos and sin")
    figure.suptitle(
        f"rotary_dim 128, YaRN with factor 4, attention factor included\n{_place(report)}",
        fontsize=9,
    )
    return True


def _cost_by_context(report: Report, figure: Any) -> bool:
    """Draw the bytes kept for a context, and the time of a decode of 64 requests in it."""
    from matplotlib.ticker import LogLocator

    # The clock of a device cannot resolve so short a call after a flush.
    cache = "graph" if report.machine["device"] == "cuda" else "flushed"
    rows = [
        row
        for row in report.rows
        if (row.model, row.cache, row.malloc) == (HEADLINE, cache, _malloc(report))
        and row.case.startswith(f"{HEADLINE} decode of")
        and row.entry in _STYLES
    ]
    contexts = sorted({row.context for row in rows})
    if len(contexts) < 3 or not report.facts:
        return False
    memory, time = _panels(figure, 2, sharey=False)
    costs = [cost for cost in report.facts if cost.dtype == rows[0].dtype]
    _draw(memory, _curves(costs, lambda cost: cost.table_bytes))
    _name_ticks(memory, sorted(report.facts[0].table_bytes))
    memory.set_yscale("log", base=2)
    memory.set(xlabel="context", ylabel="bytes kept between calls")
    memory.yaxis.set_major_formatter(lambda value, _: short(round(value)))
    memory.legend(fontsize=6.5, frameon=False)
    _draw(time, _lines(rows, lambda row: (row.context, row.p50)))
    _name_ticks(time, contexts)
    time.set_yscale("log")
    time.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    time.yaxis.set_major_formatter("{x:g}")
    time.set_yticks([], minor=True)
    caches = "in a CUDA graph" if cache == "graph" else "caches flushed"
    time.set(xlabel="context", ylabel="us", title=f"decode of {rows[0].tokens} tokens, {caches}")
    _legend_below(figure)
    figure.suptitle(f"32 and 8 heads of 128, {rows[0].dtype}\n{_place(report)}", fontsize=9)
    return True


def _malloc(report: Report) -> str | None:
    """Return the malloc setting to draw: "retain", which has no page faults, if it was timed."""
    settings = [row.malloc for row in report.rows]
    return "retain" if "retain" in settings else next(iter(settings), None)


def _place(report: Report) -> str:
    about = report.machine
    where = about.get("gpu") or f"{about['cpu']}, {about['threads']} threads"
    return f"{where}, torch {about['torch']}"


def _panels(figure: Any, count: int, sharey: bool = True) -> list[Any]:
    return list(figure.subplots(1, count, sharey=sharey, squeeze=False)[0])


_Curve = tuple[tuple[float, float], ...]


def _lines(rows: Iterable[Row], point: Callable[[Row], tuple[float, float]]) -> dict[str, _Curve]:
    found: dict[str, set[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row.entry, set()).add(point(row))
    return {entry: tuple(sorted(points)) for entry, points in found.items()}


def _curves(
    costs: Iterable[CallCost], values: Callable[[CallCost], dict[int, Any]]
) -> dict[str, _Curve]:
    """Return curves by label. Contenders that agree to two digits share one curve."""
    names: dict[_Curve, list[str]] = {}
    for cost in costs:
        if cost.entry in _STYLES:
            curve = tuple((float(x), float(f"{y:.1e}")) for x, y in sorted(values(cost).items()))
            names.setdefault(curve, []).append(cost.entry)
    return {"\n".join(entries): curve for curve, entries in names.items()}


def _draw(axes: Any, curves: dict[str, _Curve]) -> None:
    for label, points in curves.items():
        colour, line, mark = _STYLES[label.split("\n")[0]]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, line, color=colour, marker=mark, markersize=5, label=label)


def _legend_below(figure: Any) -> None:
    """Place the legend of the last panel below the figure, where no curve runs."""
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=7, frameon=False)


def _name_ticks(axes: Any, ticks: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
