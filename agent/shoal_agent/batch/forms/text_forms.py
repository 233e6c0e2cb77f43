"""JSON lines, and CSV in which lists are JSON."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shoal_agent.batch.answers import Columns, plain

EMPTY_COLUMNS: Final = ("file", "row")
"""Of an output without any row."""


class JsonForm:
    """One object a line; see `Form`."""

    def write(self, columns: Columns, path: Path) -> None:
        """Write rows to a new file."""
        names, lists = list(columns), [column.tolist() for column in columns.values()]
        with path.open("w", encoding="utf-8") as file:
            for row in zip(*lists, strict=True):
                record = {name: plain(value) for name, value in zip(names, row, strict=True)}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Put parts behind each other."""
        with path.open("wb") as file:
            for part in parts:
                with part.open("rb") as one:
                    shutil.copyfileobj(one, file)


class CsvForm:
    """A header, then one line a row; see `Form`."""

    def write(self, columns: Columns, path: Path) -> None:
        """Write rows and their header to a new file."""
        lists = [column.tolist() for column in columns.values()]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([_cell(value) for value in row] for row in zip(*lists, strict=True))

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Put parts behind each other, with the first one's header; all have the same."""
        with path.open("wb") as file:
            if not parts:
                file.write(",".join(EMPTY_COLUMNS).encode() + b"\r\n")
            for place, part in enumerate(parts):
                with part.open("rb") as one:
                    if place:
                        one.readline()
                    shutil.copyfileobj(one, file)


def _cell(value: object) -> object:
    found = plain(value)
    return json.dumps(found, ensure_ascii=False) if isinstance(found, list | dict) else found
