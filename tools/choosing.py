"""Write the generated parts of docs/choosing.md: the dialects, their magnitudes, a plan.

choosing.py            say whether the page is of this code; 1 if not
choosing.py --write    write it
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

from engine_cases import CASES
from generated_text import replaced

from ropescale_kernels.cli import main as ropescale
from ropescale_kernels.planner.compare import Reading, readings
from ropescale_kernels.scaling.config.dialects import DIALECTS, OTHER_ENGINES, Dialect

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "choosing.md"
EVERYONE = {**DIALECTS, **OTHER_ENGINES}
# Heading of a column to the config in it.
COLUMNS = {
    "s=4": "yarn",
    "s=4, max 40960": "yarn, max_position_embeddings 40960",
    "s=64, attention_factor 1": "yarn, attention_factor 1",
    "s=4, attn_factor 0.878": "yarn, attn_factor 0.878",
    "s=16, mscale 1 / 1": "yarn, mscale 1 and 1",
    "s=4, mscale 0 / 0": "yarn, mscale 0 and 0",
    "s=4, mscale 0.7 / 1.2": "yarn, mscale 0.7 and 1.2",
}
MLA = {
    "mscale 1 / 1": "deepseek, mscale 1 and 1",
    "mscale 0.707 / 1": "deepseek, mscale 0.707 and 1",
    "no mscale": "deepseek, no mscale",
    "mscale 1 / 1, attention_factor 1": "deepseek, attention_factor 1",
}
# Dialects that have code for DeepSeek's models.
WITH_MLA = ("hf", "hf-4.51", "vllm", "sglang", "deepseek")
EXAMPLE = ("tests/fixtures/configs/qwen3-8b.json", "--target-length", "128k")


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table of a page."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _found(dialects: dict[str, Dialect], case: str) -> dict[str, Reading]:
    return {found.dialect: found for found in readings(CASES[case], dialects=dialects)}


def magnitudes() -> str:
    """Return the attention factor of each case in each implementation."""
    found = {heading: _found(EVERYONE, case) for heading, case in COLUMNS.items()}
    rows = []
    for name, dialect in EVERYONE.items():
        if name == "deepseek":
            continue
        cells = [_cell(each[name], each["hf"], name in DIALECTS) for each in found.values()]
        rows.append([f"{name} ({dialect.release})" if name in DIALECTS else name, *cells])
    return table(["", *COLUMNS], rows)


def mla_magnitudes() -> str:
    """Return what DeepSeek's models have on q and k, and on the softmax scale."""
    dialects = {name: DIALECTS[name] for name in WITH_MLA}
    found = {heading: _found(dialects, case) for heading, case in MLA.items()}
    rows = []
    for name in WITH_MLA:
        cells = []
        for each in found.values():
            softmax = each[name].softmax_scale_multiplier
            marks = "**" if each[name].other_magnitude else ""
            cells.append(f"{marks}{each[name].attention_factor:.6g}, {softmax:.6g}{marks}")
        rows.append([name, *cells])
    return table(["", *MLA], rows)


def _cell(reading: Reading, hf: Reading, whole: bool) -> str:
    assert reading.attention_factor is not None
    if reading.attention_factor != hf.attention_factor:
        return f"**{reading.attention_factor:.6g}**"
    # Where only some points were read, those say what differs and not what is the same.
    return f"{reading.attention_factor:.6g}" if whole else ""


def points() -> str:
    """Return how each dialect reads the keys of YaRN."""
    rows = []
    for name, dialect in DIALECTS.items():
        yarn = dialect.yarn
        factor = {"explicit": "the key", "or_one": "the key, or 1", "ratio": "max / L"}
        length = {"original": "L", "maximum": "max"}[yarn.length]
        betas = {"or_default": "default", "as_given": "an error"}
        magnitude = "replaces" if yarn.attention_factor else "dropped"
        rows.append(
            [
                name,
                factor[yarn.factor] + (" (null: max / L)" if yarn.null_factor else ""),
                length + (f", M-RoPE {yarn.mrope_length}L" if yarn.mrope_length > 1 else ""),
                magnitude if yarn.on_qk else "softmax scale only",
                "multiplies" if yarn.attn_factor else "ignored",
                {"truthy": "if neither is 0", "given": "if both are given"}.get(
                    yarn.mscale, yarn.mscale
                ),
                "read" if yarn.truncate else "ignored",
                betas[yarn.betas],
            ]
        )
    headings = ["", "factor", "ramp measured in", "attention_factor", "attn_factor",
                "mscale ratio", "truncate", "a beta of 0"]  # fmt: skip
    return table(headings, rows)


def plan() -> str:
    """Return what the plan command prints for the example."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert ropescale(["plan", str(ROOT / EXAMPLE[0]), *EXAMPLE[1:]]) == 0
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join(["```", *lines, "```", ""])


def page(text: str) -> str:
    """Return the page with its parts as this code has them."""
    parts = {
        "points": points(),
        "magnitudes": magnitudes(),
        "mla": mla_magnitudes(),
        "plan": plan(),
    }
    return replaced(text, parts)


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page")
    arguments = parser.parse_args()
    old = PAGE.read_text()
    new = page(old)
    if arguments.write:
        PAGE.write_text(new)
        return 0
    print(json.dumps({"page": str(PAGE.relative_to(ROOT)), "stale": new != old}))
    return int(new != old)


if __name__ == "__main__":
    sys.exit(main())
