"""The `ropescale` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say in one line what it lacks."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        print(
            f"ropescale: {error.name} is missing; pip install 'ropescale_kernels[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        print("ropescale: torch is missing; install the build for your machine", file=sys.stderr)
        sys.exit(2)
    from ..errors import RopeScaleError

    try:
        from .app import app

        app()
    except RopeScaleError as error:
        # What the environment asks for (ROPESCALE_IMPL, ROPESCALE_CPU_ISA) is wrong input too.
        print(f"ropescale: {error}", file=sys.stderr)
        sys.exit(2)
