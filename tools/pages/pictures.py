"""The pictures in bench/results/plots, drawn from bench/results/cpu.json."""

from __future__ import annotations

import hashlib
import re

from ropescale_kernels.bench import plots

from .marks import ROOT
from .results import CPU, report

FOLDER = ROOT / "bench" / "results" / "plots"


def source() -> str:
    """Return the text in a picture's metadata that names its results."""
    digest = hashlib.sha256(CPU.read_bytes()).hexdigest()
    return f"{CPU.relative_to(ROOT)} sha256 {digest}"


def write() -> None:
    """Draw all pictures."""
    plots.write_plots(report(), FOLDER, {"Source": source()})


def stale(page: str) -> list[str]:
    """Return the pictures that a page shows and that were not drawn from the present results."""
    names = re.findall(r"\((?:\.\./)*(bench/results/plots/[\w-]+\.png)\)", page)
    return [name for name in names if source().encode() not in (ROOT / name).read_bytes()]
