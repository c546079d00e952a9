"""What is wrong with a command line, in one line."""

from __future__ import annotations

import re

import typer


def one_line(error: typer.TyperException) -> str:
    """Word a usage error as `<command>: <option>: <what is wrong>; <where help is>`."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ropescale"
    # Typer's "Invalid value for '--tokens': expected ..." names the option in quotes.
    text = " ".join(error.format_message().split()).rstrip(".")
    text = re.sub(r"^Invalid value for '?([^':]+)'?: (Value error, )?", r"\1: ", text)
    return f"{command}: {text}; try '{command} --help'"
