"""What the first process of several tells, line by line: how it is written there, and how it is taken here."""

import json
from collections.abc import Callable
from contextlib import suppress

from shoal_training.frameworks.trainer import TrainContext


class Telling:
    """Writes progress and metrics as JSON lines, for `Told`.

    Args:
        write: Takes a line, without its end.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def progress(self, stage: str, done: int, total: int) -> None:
        """See `Progress`."""
        self._write(json.dumps({"event": "progress", "stage": stage, "done": done, "total": total}))

    def metric(self, name: str, value: float, step: int) -> None:
        """See `TrainContext`."""
        self._write(json.dumps({"event": "metric", "name": name, "value": value, "step": step}))


class Told:
    """Hands on what the first process tells, each metric of an epoch once: after a restart it tells them again."""

    def __init__(self, context: TrainContext) -> None:
        self._context = context
        self._known: set[tuple[str, int]] = set()

    def take(self, line: str) -> None:
        """Take a line that it has written; what is none of ours is let be."""
        with suppress(ValueError, KeyError, TypeError):  # others print as well
            found = json.loads(line)
            if found["event"] == "progress":
                self._context.progress(found["stage"], found["done"], found["total"])
            elif found["event"] == "metric":
                self.metric(found["name"], found["value"], found["step"])

    def metric(self, name: str, value: float, step: int) -> None:
        """Hand a metric on, unless it was."""
        if (name, step) not in self._known:
            self._known.add((name, step))
            self._context.metric(name, value, step)
