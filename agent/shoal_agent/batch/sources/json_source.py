"""JSON lines: one object a line, in UTF-8. A row's number is its line's; empty lines are none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from shoal_agent.batch.sources.file_identity import file_identity, size_of
from shoal_agent.batch.sources.lines import Lines
from shoal_agent.batch.sources.source import Chunk, Position, to_columns

_LOOKED_AT: Final = 100
"""Lines of which the columns' names are taken."""


class JsonSource:
    """One file of JSON lines; see `Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)
        self.size_bytes = size_of(path)
        self.identity = file_identity(path)

    def columns(self) -> tuple[str, ...]:
        """Return the names in the first lines."""
        names: dict[str, None] = {}
        with self._path.open("rb") as file:
            for line in itertools.islice(Lines(file, self._path), _LOOKED_AT):
                names |= dict.fromkeys(_read(line)[0] or {})
        return tuple(names)

    def chunks(self, columns: Collection[str], size: int, after: Position | None) -> Iterator[Chunk]:
        """Read lines from a place on; one that holds no object is bad."""
        row = after["row"] if after else 0
        with self._path.open("rb") as file:
            file.seek(after["byte"] if after else 0)
            lines = Lines(file, self._path)
            numbered = enumerate(lines, row + 1)
            while found := list(itertools.islice(numbered, size)):
                read = [(number, *_read(line)) for number, line in found if line.strip()]
                row = found[-1][0]
                good = [(number, record) for number, record, _ in read if record is not None]
                numbers = np.array([number for number, _ in good], dtype=np.int64)
                bad = {number: reason for number, _, reason in read if reason}
                values = to_columns([record for _, record in good], columns)
                yield Chunk(values, numbers, bad, {"byte": lines.offset, "row": row}, lines.offset)


def _read(line: str) -> tuple[dict[str, Any] | None, str]:
    """Return the object in a line and an empty reason, or None and the reason."""
    try:
        found = json.loads(line) if line.strip() else {}
    except (ValueError, RecursionError) as error:
        return None, f"it is no JSON: {error}"
    if not isinstance(found, dict):
        return None, f"it is JSON, but a {type(found).__name__}; an object expected"
    return found, ""
