"""The style of all commands' tables."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table


def new_table(
    title: str | None = None, *, title_style: str | None = None, show_header: bool = True
) -> Table:
    """Return a table without columns. Brackets in the title are shown."""
    return Table(
        title=None if title is None else escape(title),
        title_justify="left",
        title_style=title_style,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_header=show_header,
    )
