"""The subcommands, and their common options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from .._version import __version__
from ..errors import RopeScaleError
from .doctor import doctor

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Rotary position embedding with YaRN scaling, in one kernel pass. The commands time the "
    "kernels, check their accuracy, show the scaling in a model's config, and plan a longer "
    "context.\n\n"
    "Exit codes: 0 all is well, 1 a check failed, 2 wrong input.\n\n"
    "Example: ropescale bench --model llama-3.1-8b --dtype bfloat16",
)


def _add(command: Callable[..., None]) -> None:
    """Add a command. Each paragraph of its docstring is wrapped to the terminal."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    app.command(help="\n\n".join(" ".join(p.splitlines()) for p in paragraphs))(command)


def _add_commands_of_torch() -> None:
    """Add the commands that import torch; if that fails, commands that print the reason."""
    try:
        from .bench import bench
        from .inspect import inspect
        from .plan import plan
        from .verify import verify
    except Exception as error:
        # A broken torch can raise any exception, and doctor must still run. A RopeScaleError is a
        # request of the environment (ROPESCALE_CPU_ISA) that cannot be met.
        known = isinstance(error, (ImportError, RopeScaleError)) and str(error)
        reason = known or f"{type(error).__name__}: {error}"
        _add_stand_in("bench", "Time the kernel (cannot run here).", reason)
        _add_stand_in("verify", "Check accuracy (cannot run here).", reason)
        _add_stand_in("inspect", "Show the scaling in a model's config (cannot run here).", reason)
        _add_stand_in("plan", "Plan a longer context (cannot run here).", reason)
        return
    _add(bench)
    _add(verify)
    _add(inspect)
    _add(plan)


def _add_stand_in(name: str, purpose: str, reason: str) -> None:
    anything: dict[str, Any] = {"ignore_unknown_options": True, "allow_extra_args": True}

    def stand_in() -> None:
        raise typer.TyperException(f"{reason}; 'ropescale doctor' says more")

    app.command(name, help=purpose, context_settings=anything)(stand_in)


_add_commands_of_torch()
_add(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ropescale_kernels {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass
