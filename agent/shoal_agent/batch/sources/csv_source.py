"""Comma-separated values (RFC 4180) with a header line, in UTF-8; `.tsv` has tabs. All values are text."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shoal_agent.batch.errors import BatchError
from shoal_agent.batch.sources.file_identity import file_identity, size_of
from shoal_agent.batch.sources.lines import Lines
from shoal_agent.batch.sources.source import Chunk, Position, to_objects


class CsvSource:
    """One CSV file; see `Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._delimiter = "\t" if path.suffix == ".tsv" else ","
        self.name = str(path)
        self.size_bytes = size_of(path)
        self.identity = file_identity(path)

    def columns(self) -> tuple[str, ...]:
        """Return the names in the header."""
        return self._header()[0]

    def chunks(self, columns: Collection[str], size: int, after: Position | None) -> Iterator[Chunk]:
        """Read records from a place on; one that has not as many fields as the header is bad."""
        names, begin = self._header()
        offset, row = (after["byte"], after["row"]) if after else (begin, 0)
        wanted = [(at, name) for at, name in enumerate(names) if name in columns]
        with self._path.open("rb") as file:
            file.seek(offset)
            lines = Lines(file, self._path)
            records = self._records(lines, len(names))
            while found := _take(records, size):
                good = [(row + at + 1, fields) for at, (fields, _) in enumerate(found) if fields is not None]
                bad = {row + at + 1: reason for at, (_, reason) in enumerate(found) if reason}
                row += len(found)
                values = {name: to_objects([fields[at] for _, fields in good]) for at, name in wanted}
                numbers = np.array([number for number, _ in good], dtype=np.int64)
                yield Chunk(values, numbers, bad, {"byte": lines.offset, "row": row}, lines.offset)

    def _header(self) -> tuple[tuple[str, ...], int]:
        """Return the names of the columns, and the place behind the header."""
        with self._path.open("rb") as file:
            lines = Lines(file, self._path)
            names = next(csv.reader(lines, delimiter=self._delimiter), [])
        if not names or len(set(names)) != len(names):
            found = "nothing" if not names else f"the names {', '.join(names)[:200]}"
            message = f"reading the header of {self._path}: {found} found, names of columns expected, each once"
            raise BatchError(message, "give the file a first line with the columns' names")
        return tuple(names), lines.offset

    def _records(self, lines: Lines, width: int) -> Iterator[tuple[Any, str]]:
        """Yield fields and an empty reason, or None and the reason."""
        reader = csv.reader(lines, delimiter=self._delimiter)
        while True:
            lines.is_damaged = False
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield None, f"it is no CSV: {error}"
                continue
            if not fields:
                continue  # an empty line
            if lines.is_damaged:
                yield None, "it is no UTF-8"
            elif len(fields) != width:
                yield None, f"{len(fields)} fields found, {width} expected"
            else:
                yield fields, ""


def _take(records: Iterator[tuple[Any, str]], size: int) -> list[tuple[Any, str]]:
    """Return the next records, as many as `size` at most, and read no line beyond them."""
    found = []
    for record in records:
        found.append(record)
        if len(found) == size:
            break
    return found
