"""Write the generated parts of README.md and docs/, and the pictures.

python -m tools.pages [PAGE ...]            write all pages, or these
python -m tools.pages --check [PAGE ...]    change nothing; 1 if a page or a picture is stale

The machine code of docs/cuda_kernels.md has a writer of its own, because it needs a build with
nvcc: `python -m tools.pages.machine_code`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from . import (
    choosing,
    model_types,
    numerics,
    performance,
    pictures,
    plan,
    readme,
    support_matrix,
)
from .marks import ROOT

WRITERS: dict[str, ModuleType] = {
    str(writer.PAGE.relative_to(ROOT)): writer
    for writer in (readme, performance, numerics, support_matrix, choosing, plan, model_types)
}


def main(words: Sequence[str] | None = None) -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.pages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("page", nargs="*", help=f"of {', '.join(WRITERS)}; default: all")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if stale")
    arguments = parser.parse_args(words)
    # Triton looks once, when the first page imports it.
    os.environ["TRITON_INTERPRET"] = "1"
    names = arguments.page or list(WRITERS)
    for name in names:
        if name not in WRITERS:
            parser.error(f"page: expected one of {', '.join(WRITERS)}, got {name}")
    stale: list[str] = []
    for name in names:
        page = WRITERS[name].PAGE
        old = page.read_text()
        new = WRITERS[name].rewritten(old)
        if not arguments.check:
            page.write_text(new)
        elif new != old:
            stale.append(name)
        stale += [picture for picture in pictures.stale(new) if picture not in stale]
    if not arguments.check:
        if "docs/performance.md" in names:
            pictures.write()
        return 0
    for name in stale:
        print(f"stale: {name}; run `python -m tools.pages`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
