"""Answers as columns, gathered until they are made durable together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from shoal_agent.engines import Array

Columns = dict[str, Array]
"""By name, each (rows,): numbers, text, or objects that are arrays where a row has several values."""


class Gathered:
    """The rows of one part."""

    def __init__(self) -> None:
        self.answered = 0
        self.rejects: list[dict[str, object]] = []
        self.pieces: list[Columns] = []

    @property
    def rows(self) -> int:
        """How many rows it has, answered and rejected."""
        return self.answered + len(self.rejects)

    def answer(self, columns: Columns) -> None:
        """Add rows; every call has the same columns."""
        count = len(next(iter(columns.values())))
        if count:
            self.pieces.append(columns)
            self.answered += count

    def take(self, other: Gathered) -> None:
        """Add all rows of another one."""
        self.pieces += other.pieces
        self.answered += other.answered
        self.rejects += other.rejects

    def reject(self, file: str, row: int, reason: str) -> None:
        """Add a row that has no answer."""
        self.rejects.append({"file": file, "row": row, "reason": reason})

    def columns(self) -> Columns:
        """Return all answered rows."""
        names: Sequence[str] = list(self.pieces[0]) if self.pieces else []
        return {name: joined([piece[name] for piece in self.pieces]) for name in names}


def joined(pieces: Sequence[Array]) -> Array:
    """Return pieces of one column as one; of objects if one of them is."""
    if len({piece.dtype.kind for piece in pieces}) > 1:
        pieces = [piece.astype(np.object_) for piece in pieces]
    return np.concatenate(pieces)


def plain(value: object) -> object:
    """Return a value of a column as JSON has it; what is not finite is none, what else JSON lacks is its text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
