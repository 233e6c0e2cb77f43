"""Runs a piece of work as a program: progress and result for a person, or as JSON lines for the hub's jobs."""

import sys
from collections.abc import Callable
from typing import TypeVar

import typer
from pydantic import BaseModel

from shoal_compression.errors import CompressionError
from shoal_training.errors import TrainingError
from shoal_training.progress import Progress, json_lines, terminal_bars, write_failure, write_result

Result = TypeVar("Result", bound=BaseModel)


def follow(work: Callable[[Progress], Result], summary: Callable[[Result], str], *, as_json: bool) -> None:
    """Do the work and tell how it goes.

    Args:
        work: Takes what it tells its progress to.
        summary: Says the result in a line for a person.
        as_json: JSON lines on standard output, the last one with `event` `result` or `error`.

    Raises:
        typer.Exit: With code 1, after the error was told.
    """
    try:
        if as_json:
            write_result(work(json_lines))
        else:
            with terminal_bars() as progress:
                result = work(progress)
            sys.stdout.write(summary(result) + "\n")
    except (TrainingError, CompressionError) as error:
        if as_json:
            write_failure(error)
        else:
            sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(1) from error
