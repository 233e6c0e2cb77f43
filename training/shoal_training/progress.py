"""How long work tells how far it is: to nobody, to a person at a terminal, or to a program as JSON lines."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pydantic import BaseModel


class Progress(Protocol):
    """Called at each step: `done` of `total` steps of `stage` are finished."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note; must be quick and must not raise."""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def json_lines(stage: str, done: int, total: int) -> None:
    """Write one JSON line to standard output."""
    _write_line({"event": "progress", "stage": stage, "done": done, "total": total})


def write_result(result: BaseModel) -> None:
    """Write the last JSON line of a run: `{"event": "result", "result": …}`."""
    _write_line({"event": "result", "result": result.model_dump(mode="json")})


def write_failure(error: Exception) -> None:
    """Write the last JSON line of a run that failed: `{"event": "error", "error": …, "message": …}`."""
    _write_line({"event": "error", "error": type(error).__name__, "message": str(error)})


@contextmanager
def terminal_bars() -> Iterator[Progress]:
    """Show one Rich progress bar a stage on standard error while the context is open."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _write_line(event: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
