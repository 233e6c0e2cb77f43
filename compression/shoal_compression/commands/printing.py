"""What the commands print: tables and progress bars for a person, JSON lines for a program."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import typer

from shoal_compression.errors import CompressionError
from shoal_compression.extras import says_extra
from shoal_compression.technique import Progress

P = ParamSpec("P")


def write_line(event: dict[str, object]) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def tell_json(stage: str, done: int, total: int) -> None:
    """Tell a program of progress."""
    write_line({"event": "progress", "stage": stage, "done": done, "total": total})


def result(value: object) -> None:
    """Write the result of a command for a program."""
    write_line({"event": "result", "result": value})


def says_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command say an error in one sentence, or as JSON with `--json`, and end with 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with says_extra(f"running {command.__name__}"):
                command(*args, **kwargs)
        except BrokenPipeError:  # whoever reads has enough
            raise
        except CompressionError as error:
            _say(type(error).__name__, str(error), is_json=bool(kwargs.get("json_")))
            raise typer.Exit(1) from error
        except OSError as error:
            message = f"running {command.__name__}: {error}; see that it can be read or written, and that there is room"
            _say(type(error).__name__, message, is_json=bool(kwargs.get("json_")))
            raise typer.Exit(1) from error

    return run


def _say(kind: str, message: str, *, is_json: bool) -> None:
    if is_json:
        write_line({"event": "error", "error": kind, "message": message})
    else:
        sys.stderr.write(f"error: {message}\n")


@contextmanager
def progress(*, is_json: bool) -> Iterator[Progress]:
    """Give what tells of progress: a bar on standard error, or JSON lines."""
    if is_json:
        yield tell_json
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def tell(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield tell


def _widest(rows: Sequence[Sequence[str]], place: int) -> int | None:
    """Return what a first column takes at least, so that names are not broken on a narrow terminal."""
    return None if place else min(40, max((len(row[0]) for row in rows), default=1))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns behind the first are numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        made.add_column(column, justify="right" if place else "left", overflow="fold", min_width=_widest(rows, place))
    for row in rows:
        made.add_row(*map(Text, row))
    Console().print(made)
