"""Text of `ropescale plan`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from ..planner.engine_commands import RELEASES
from ..planner.kv_cache import KVCache, worded_bytes
from ..planner.plan import ContextPlan
from ..planner.terminal_text import printable
from ._inspect_tables import DIFFERS, number
from ._tables import new_table

_SHOWN = ("rope_type", "factor", "original_max_position_embeddings", "attention_factor",
          "softmax_scale_multiplier", "rope_theta")  # fmt: skip


def print_plan(console: Console, plan: ContextPlan) -> None:
    """Print a plan, the answer first."""
    _line(console, plan.verdict, style="bold")
    if plan.layer_type is not None:
        _line(console, f"This is about the layers of type {plan.layer_type}.")
    if plan.needed:
        _print_numbers(console, plan)
    _print_keys(console, plan)
    _heading(console, "Command lines")
    if plan.assumed:
        _line(console, f"These commands rest on assumptions. {plan.assumed}", style="yellow")
    for engine, command in plan.commands.items():
        _line(console, RELEASES[engine], style="dim")
        _line(console, f"  {command}")
    _heading(console, "KV cache")
    _line(console, _cache(plan.kv_cache))
    if plan.short_requests:
        _heading(console, "Short requests")
        for line in plan.short_requests:
            _line(console, line)
    if plan.other_magnitudes:
        _print_magnitudes(console, plan)
    others = [warning for warning in plan.warnings if warning != plan.assumed]
    if others:
        _heading(console, "Warnings")
        for warning in others:
            _line(console, f"- {warning}")


def _line(console: Console, text: str, style: str = "") -> None:
    # Lines are never folded, because a command line cut in two cannot be pasted.
    console.print(Text(printable(text), style=style), soft_wrap=True)


def _heading(console: Console, text: str) -> None:
    console.print()
    _line(console, text, style="bold")


def _print_numbers(console: Console, plan: ContextPlan) -> None:
    table = new_table()
    for heading in ("", "now", "planned"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for name in _SHOWN:
        now, then = (number(numbers.get(name)) for numbers in (plan.current, plan.planned))
        if now or then:
            table.add_row(name, now, Text(then, style=DIFFERS if then != now else ""))
    console.print(table)


def _print_keys(console: Console, plan: ContextPlan) -> None:
    if not plan.changes:
        return
    _heading(console, "config.json")
    for name, keys in (
        ("Transformers 5", plan.transformers_5),
        ("Transformers 4", plan.transformers_4),
    ):
        _line(console, name, style="dim")
        _line(console, _json(keys))


def _json(keys: Mapping[str, object]) -> str:
    inner = json.dumps(keys, indent=2)
    return "\n".join(f"  {line}" for line in inner.splitlines())


def _cache(cache: KVCache | str) -> str:
    if isinstance(cache, str):
        return f"unknown: {cache}"
    kept = ", ".join(
        f"{count} {'layer keeps' if count == 1 else 'layers keep'} {what}"
        for what, count in cache.layers.items()
    )
    latent = " (DeepSeek's compressed latent)" if cache.latent else ""
    each = cache.bytes_per_token
    growth = f"{worded_bytes(each)} for each token" if each else "the same for longer sequences"
    return (
        f"{worded_bytes(cache.bytes)} in {cache.dtype} for one sequence of {cache.tokens:,} "
        f"{'token' if cache.tokens == 1 else 'tokens'}, {worded_bytes(cache.bytes_fp8)} in fp8; "
        f"{growth}{latent}. {kept}."
    )


def _print_magnitudes(console: Console, plan: ContextPlan) -> None:
    _heading(console, "Implementations that compute another magnitude from these keys")
    table = new_table()
    for heading in ("", "attention factor", "softmax multiplier", ""):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    factor, softmax = (
        number(plan.planned[name]) for name in ("attention_factor", "softmax_scale_multiplier")
    )
    table.add_row("planned (hf)", factor, softmax, "")
    for result in plan.other_magnitudes:
        table.add_row(
            result.dialect,
            number(result.attention_factor),
            number(result.softmax_scale_multiplier),
            Text(result.release, style="dim"),
        )
    console.print(table)
