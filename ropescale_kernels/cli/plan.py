"""`ropescale plan`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..planner.edit_config import read as read_config_file
from ..planner.edit_config import write as write_config
from ..planner.plan import ContextPlan, check_rewritable, make_plan
from ..scaling.config.model_config import ModelConfig
from ._config import CONFIG_HELP, config_of, file_of, refuse_the_config
from ._console import stdout_console
from ._files import STDOUT, writable, writable_or_stdout, write_json
from ._numbers import tokens
from ._plan_text import print_plan


def plan(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help=CONFIG_HELP)],
    target_length: Annotated[
        int,
        typer.Option(
            parser=tokens,
            metavar="TOKENS",
            help="Tokens to serve, of prompt and output together: 131072, 128k or 1m.",
        ),
    ],
    original_length: Annotated[
        int | None,
        typer.Option(
            parser=tokens,
            metavar="TOKENS",
            help="Tokens that the model was trained on, if the config does not say or is wrong.",
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Put the new keys into the config; the old file is kept."),
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            callback=writable_or_stdout,
            help="Also write the plan to this file; - prints it instead of the text.",
        ),
    ] = None,
) -> None:
    """Plan a longer context: the rule, its factor, and the settings of each engine.

    Prints the keys for config.json, a command line for each engine, the memory of the KV cache,
    the cost of the scaling for short requests, and the engines that would multiply q, k or the
    softmax scale by another number.

    For example:

    ropescale plan Qwen3-8B --target-length 128k

    ropescale plan Qwen3-8B/config.json --target-length 131072 --write

    ropescale plan - --target-length 131072 --json - < config.json
    """
    target = writable(file_of(config)) if write else None
    refuse_the_config(config, {"--json": json_file})
    old = b"" if target is None else read_config_file(target)
    model = ModelConfig(config_of(config))
    if target is not None:
        check_rewritable(model)
    made = make_plan(model, target_length, original_length)
    backup = write_config(target, old, made.config) if target is not None and made.changes else None
    if json_file != STDOUT:
        console = stdout_console()
        print_plan(console, made)
        if backup is not None:
            console.print(f"\nwrote {target}; the old file is {backup}", soft_wrap=True)
        elif write:
            console.print(f"\n{target} is as it was: nothing has to change", soft_wrap=True)
    if json_file is not None:
        write_json(json_file, as_json(made, backup))


def as_json(made: ContextPlan, backup: Path | None) -> dict[str, Any]:
    """Return a plan as JSON values."""
    cache = made.kv_cache if isinstance(made.kv_cache, str) else asdict(made.kv_cache)
    written = None if backup is None else str(backup)
    return {**asdict(made), "kv_cache": cache, "backup": written}
