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
    from .app import app

    app()
