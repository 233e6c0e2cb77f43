"""What every kind of input offers: chunks of rows, each with the place to go on from after it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from shoal_agent.engines import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

Position = dict[str, int]
"""Where to go on in one input, as its source understands it; it is kept in the job's journal."""


class Chunk(NamedTuple):
    """Some rows that follow each other.

    Attributes:
        columns: By name, each (rows,): numbers, or objects, see `shoal_numerics.processing.columns`.
        rows: (rows,) int64: their numbers in the input, from 1.
        bad: Rows that could not be read at all, by number, with the reason.
        after: Where the next chunk begins.
        done_bytes: How much of the input lies before that, about.
        files: (rows,) objects: the files that the rows are, where each is one; None: all are in the input's.
        bad_files: The same of bad rows, by number.
    """

    columns: dict[str, Array]
    rows: NDArray[np.int64]
    bad: dict[int, str]
    after: Position
    done_bytes: int
    files: Array | None = None
    bad_files: Mapping[int, str] = {}


class Source(Protocol):
    """One input of a job. It holds no more than a chunk at a time, or what its format groups together."""

    @property
    def name(self) -> str:
        """The input as a person named it."""

    @property
    def size_bytes(self) -> int:
        """Its size on disk."""

    @property
    def identity(self) -> Mapping[str, str | int]:
        """What tells a changed input from the same one."""

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns, as far as they are known before it is read.

        Raises:
            BatchError: It is not of its format, or can not be read.
        """

    def chunks(self, columns: Collection[str], size: int, after: Position | None) -> Iterator[Chunk]:
        """Read it from a place on.

        Args:
            columns: What is wanted; of those that are not there nothing is given.
            size: Rows in one chunk at most.
            after: From an earlier chunk; None: from the beginning.

        Raises:
            BatchError: It can not be read any further.
        """


def to_columns(records: list[Mapping[str, object]], names: Collection[str]) -> dict[str, Array]:
    """Return records as columns of objects; a record without a name has None there."""
    return {name: to_objects([record.get(name) for record in records]) for name in names}


def to_objects(values: list[object]) -> Array:
    """Return values of any kind as (values,) objects."""
    column = np.empty(len(values), dtype=np.object_)
    for place, value in enumerate(values):
        column[place] = value
    return column


def row_numbers(first: int, count: int) -> NDArray[np.int64]:
    """Return the numbers of rows that follow each other."""
    return np.arange(first, first + count, dtype=np.int64)
