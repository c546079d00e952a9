"""docs/plan.md: the output of `ropescale plan` for the example on the page."""

from __future__ import annotations

import contextlib
import io

from ropescale_kernels.cli import main as ropescale

from .marks import ROOT, replaced

PAGE = ROOT / "docs" / "plan.md"
EXAMPLE = ("tests/fixtures/configs/qwen3-8b.json", "--target-length", "128k")


def plan() -> str:
    """Return the output of the command for the example."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert ropescale(["plan", str(ROOT / EXAMPLE[0]), *EXAMPLE[1:]]) == 0
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join(["```", *lines, "```", ""])


def rewritten(text: str) -> str:
    """Return the page with fresh parts."""
    return replaced(text, {"plan": plan()})
