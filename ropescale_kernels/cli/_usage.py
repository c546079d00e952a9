"""An error of the command line, worded in one line."""

from __future__ import annotations

import re

import typer

# Typer's exit code of a wrong command line. Its code of other errors is 1.
_USAGE = 2


def one_line(error: typer.TyperException) -> str:
    """Return an error as `<command>: <option>: <the error>; <the command that gives help>`."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ropescale"
    # Typer's "Invalid value for '--tokens': expected ..." names the option in quotes.
    text = " ".join(error.format_message().split()).rstrip(".")
    text = re.sub(r"^Invalid value for '?([^':]+)'?: (Value error, )?", r"\1: ", text)
    hint = f"; try '{command} --help'" if error.exit_code == _USAGE else ""
    return f"{command}: {text}{hint}"
