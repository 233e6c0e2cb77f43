"""Events as they came, kept on disk before anything is computed of them, and where windows go on after a restart.

One SQLite file. The batch path computes from it what the stream has computed, with what came too late for the stream.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from shoal_numerics.features.events import EventBatch
from shoal_training.errors import DataError
from shoal_training.feature_store.computing import Events

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS fields (place INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, entity TEXT NOT NULL, at_ns INTEGER NOT NULL, came_ns INTEGER NOT NULL,
    numbers BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (at_ns);
CREATE TABLE IF NOT EXISTS windows (definition TEXT PRIMARY KEY, number INTEGER NOT NULL, state BLOB NOT NULL);
"""
_NS: Final = 1_000_000_000
_AT_ONCE: Final = 65_536


class EventLog:
    """A log of events with some fields; for one thread at a time.

    Args:
        path: The file; it is made where there is none.
        fields: The fields that events have, in the order of `EventBatch.values`.

    Raises:
        DataError: The file can not be opened, or lacks a field: what came before could not be computed again.
    """

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        self._path = path
        self.fields = tuple(fields)
        with self._telling("opening"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.executescript(_SCHEMA)
        self._check_fields()

    def append(self, batch: EventBatch) -> None:
        """Keep events; they are on disk when this returns.

        Raises:
            DataError: The disk fails.
        """
        rows = zip(
            batch.entities,
            batch.times_ns.tolist(),
            batch.came_ns.tolist(),
            (row.tobytes() for row in batch.values),
            strict=True,
        )
        with self._writing():
            self._database.executemany("INSERT INTO events (entity, at_ns, came_ns, numbers) VALUES (?, ?, ?, ?)", rows)

    def last_number(self) -> int:
        """Return the number of the latest event, 0 without."""
        with self._telling("reading"):
            return int(self._database.execute("SELECT coalesce(max(number), 0) FROM events").fetchone()[0])

    def read(self) -> Events:
        """Return all events in the order in which they came."""
        return self._events(self._rows(0, -1))

    def chunks(self, after: int = 0) -> Iterator[Events]:
        """Yield the events behind a number in the order in which they came, some thousands at a time."""
        while rows := self._rows(after, _AT_ONCE):
            after = rows[-1][0]
            yield self._events(rows)

    def save(self, states: Mapping[str, bytes], number: int, keep_s: float) -> None:
        """Keep windows that have taken all events up to a number; forget events that are older than `keep_s`.

        Raises:
            DataError: The disk fails.
        """
        with self._writing():
            self._database.executemany(
                "INSERT OR REPLACE INTO windows VALUES (?, ?, ?)",
                ((name, number, state) for name, state in states.items()),
            )
            self._database.execute(
                "DELETE FROM events WHERE number <= ? AND at_ns < (SELECT max(at_ns) FROM events) - ?",
                (number, int(min(keep_s, 2**31) * _NS)),
            )

    def saved(self, definition: str) -> tuple[int, bytes] | None:
        """Return the windows of a definition and the number of the latest event in them; None: there are none."""
        with self._telling("reading"):
            row = self._database.execute(
                "SELECT number, state FROM windows WHERE definition = ?", (definition,)
            ).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _rows(self, after: int, most: int) -> list[tuple[int, str, int, int, bytes]]:
        with self._telling("reading"):
            return self._database.execute(
                "SELECT number, entity, at_ns, came_ns, numbers FROM events WHERE number > ? ORDER BY number LIMIT ?",
                (after, most),
            ).fetchall()

    def _events(self, rows: Sequence[tuple[int, str, int, int, bytes]]) -> Events:
        numbers = np.frombuffer(b"".join(row[4] for row in rows), dtype=np.float64)
        numbers = numbers.reshape(len(rows), len(self.fields))
        return Events(
            entities=[row[1] for row in rows],
            at_ns=np.array([row[2] for row in rows], dtype=np.int64),
            came_ns=np.array([row[3] for row in rows], dtype=np.int64),
            fields={name: numbers[:, place] for place, name in enumerate(self.fields)},
        )

    def _check_fields(self) -> None:
        with self._telling("opening"):
            found = [row[0] for row in self._database.execute("SELECT name FROM fields ORDER BY place")]
            if not found and not self.last_number():
                self._database.executemany("INSERT INTO fields VALUES (?, ?)", list(enumerate(self.fields)))
                return
        if found != list(self.fields):
            raise DataError(
                f"opening {self._path}: its events have the fields {json.dumps(found)}, the definitions read "
                f"{json.dumps(list(self.fields))}; events that came before lack them: name another folder"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._telling("writing"):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"{doing} {self._path}: {error}; free some disk space, or name another folder") from error
