"""How the CLI shows things: Rich tables for people, JSON for programs."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor, changes its state or the order of its text: devices and people send text as well."""


def printable(text: str) -> str:
    """Return a text with its control characters spelled out."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _SafeConsole(Console):
    """Prints text without what would control the terminal; styles are by Rich's markup alone."""

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - Rich's own
        super().print(*(printable(one) if isinstance(one, str) else one for one in objects), **options)


_UNBOUNDED = 10_000
"""Columns of a terminal in which any table has room."""
console = _SafeConsole(emoji=False)
errors = _SafeConsole(stderr=True, emoji=False)

_COLOURS = {
    "online": "green",
    "offline": "red",
    "applied": "green",
    "succeeded": "green",
    "production": "green",
    "running": "cyan",
    "working": "cyan",
    "failed": "red",
    "fail": "red",
    "warn": "yellow",
    "ok": "green",
    "timed_out": "red",
    "aborted": "red",
    "error": "red",
    "warning": "yellow",
    "paused": "yellow",
    "staging": "yellow",
}


def show(value: BaseModel | Sequence[BaseModel], *, as_json: bool, draw: Callable[[], None]) -> None:
    """Print a value as JSON, or draw it."""
    if as_json:
        print_json(value)
    else:
        draw()


def print_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """Print a value of the API as indented JSON."""
    plain: Any = (
        value.model_dump(mode="json")
        if isinstance(value, BaseModel)
        else [one.model_dump(mode="json") for one in value]
    )
    typer.echo(_json_text(json.dumps(plain, indent=2, ensure_ascii=False)))


def print_line(value: BaseModel) -> None:
    """Print a value as one line of JSON, for streams."""
    typer.echo(_json_text(value.model_dump_json()))


def _json_text(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Draw a table, or say what to do where there is nothing to show.

    Columns that have nothing in any row are left out if the terminal has no room for them.
    """
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        console.print(f"[dim]{escape(empty)}[/dim]")
        return
    drawn = _folding(columns, cells)
    if not has_room(console, drawn, console.width):
        filled = [at for at in range(len(columns)) if any(row[at] != cell(None) for row in cells)]
        drawn = _folding([columns[at] for at in filled], [[row[at] for at in filled] for row in cells])
    console.print(drawn)


def _folding(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def has_room(terminal: Console, drawn: Table, width: int) -> bool:
    """Whether a table is shown in that many columns of a terminal without cutting or folding a cell."""
    return terminal.measure(drawn, options=terminal.options.update(width=_UNBOUNDED)).maximum <= width


def table_of(*columns: str) -> Table:
    """Return an empty table whose cells stay in their line and are cut where there is no room for them."""
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        drawn.add_column(column, overflow="ellipsis", no_wrap=True)
    return drawn


def split_alike(columns: Mapping[str, Sequence[str]]) -> tuple[list[str], dict[str, Sequence[str]]]:
    """Part the columns of a table into those that are the same in every row, and those that are not.

    Args:
        columns: The cells of each column, by its name.

    Returns:
        For each column that is the same throughout, and not empty, a phrase that says so once; and the others.
    """
    different = {name: cells for name, cells in columns.items() if len(set(cells)) > 1}
    alike = {name: cells[0] for name, cells in columns.items() if name not in different and cells}
    return [f"{name} {text}" for name, text in alike.items() if text != cell(None)], different


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Draw names and values below each other."""
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        drawn.add_row(name, cell(value))
    console.print(drawn)


def cell(value: object) -> str:
    """Return a value as a cell shows it; states are coloured, names of devices inject no markup."""
    if value is None or value == "":
        return "[dim]-[/dim]"
    if isinstance(value, datetime):
        return ago(value, datetime.now(UTC))
    if isinstance(value, float):
        return _short(value)
    if isinstance(value, dict):
        return _plain(", ".join(f"{name}={_short(one)}" for name, one in value.items())) or "[dim]-[/dim]"
    if isinstance(value, list | tuple):
        return _plain(", ".join(str(one) for one in value)) or "[dim]-[/dim]"
    text = _plain(str(value))
    colour = _COLOURS.get(text)
    return f"[{colour}]{text}[/{colour}]" if colour else text


def _plain(text: str) -> str:
    return escape(printable(text))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ago(at: datetime, now: datetime) -> str:
    """Return how long ago (or until when) a time is, in the largest unit that fits."""
    seconds = (now - at).total_seconds()
    size, unit = next(
        (size, unit)
        for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
        if abs(seconds) >= size or size == 1
    )
    count = round(abs(seconds) / size)
    return f"{count} {unit} ago" if seconds >= 0 else f"in {count} {unit}"


def size_text(size_bytes: int) -> str:
    """Return a size in bytes, kB or MB."""
    if size_bytes < 1000:  # noqa: PLR2004 - a kilobyte
        return f"{size_bytes} B"
    return f"{size_bytes / 1000:.1f} kB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.2f} MB"  # noqa: PLR2004
