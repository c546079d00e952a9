"""The `ropescale` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

WRONG_INPUT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. An error of the user becomes one line on stderr.

    Args:
        arguments: The words after the command's name; None for those of this process.

    Returns:
        The exit code: 0 all is well, 1 a check failed, 2 wrong input, 130 interrupted.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    try:
        import rich  # noqa: F401
        import typer
    except ModuleNotFoundError as error:
        return _refuse(f"ropescale: {error.name} is missing; pip install 'ropescale_kernels[cli]'")
    from ..errors import RopeScaleError
    from ._usage import one_line

    try:
        from .app import app

        code = app(arguments or ["--help"], prog_name="ropescale", standalone_mode=False)
    except typer.TyperException as error:
        return _refuse(one_line(error))
    except (RopeScaleError, OSError) as error:
        # Files and the environment (a report, ROPESCALE_IMPL) can hold wrong input too. A full disk
        # raises OSError.
        return _refuse(f"ropescale: {' '.join(str(error).split())}")
    return code if isinstance(code, int) else 0


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return WRONG_INPUT
