"""The demo's figures: kept by step, shown as a table at the end, written as JSON."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = dict[str, Any]


class Report:
    """One entry a step; `headline` in a step's figures is its line in the table."""

    def __init__(self) -> None:
        self._steps: dict[int, Figures] = {}
        self._started_s = time.perf_counter()

    @property
    def total_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started_s

    @contextmanager
    def timed(self, number: int, title: str) -> Iterator[None]:
        """Measure one step."""
        started_s = time.perf_counter()
        self._steps[number] = {"step": number, "title": title}
        yield
        self._steps[number]["seconds"] = round(time.perf_counter() - started_s, 2)

    def add(self, number: int, figures: Figures) -> None:
        """Keep a step's figures."""
        self._steps[number].update(figures)

    def print(self, console: Console) -> None:
        """Show one line a step."""
        table = Table(title="First light", title_justify="left")
        for column in ("", "step", "result"):
            table.add_column(column)
        table.add_column("s", justify="right")
        for number, step in self._steps.items():
            table.add_row(str(number), step["title"], str(step.get("headline", "")), f"{step['seconds']:.1f}")
        console.print(table)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        document = {"steps": list(self._steps.values()), "total_s": round(self.total_s, 1)}
        path.write_text(json.dumps(document, indent=2) + "\n")
