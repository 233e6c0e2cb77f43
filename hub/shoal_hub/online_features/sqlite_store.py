"""Online features in one SQLite file, which the hub's processes on a machine share."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal_hub.errors import UnavailableError
from shoal_hub.online_features.store import OnlineRow, OnlineStore, from_bytes, to_bytes
from shoal_hub.online_features.values import NS, Held

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS latest (
    view TEXT NOT NULL, entity TEXT NOT NULL, at_ns INTEGER NOT NULL, gone_ns INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (view, entity)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS latest_by_end ON latest (gone_ns);
"""
_WRITE: Final = """
INSERT INTO latest VALUES (?, ?, ?, ?, ?) ON CONFLICT (view, entity) DO UPDATE
SET at_ns = excluded.at_ns, gone_ns = excluded.gone_ns, body = excluded.body WHERE excluded.at_ns >= latest.at_ns
"""
_READ: Final = "SELECT at_ns, body FROM latest WHERE view = ? AND entity = ? AND gone_ns > ?"
_SWEEP: Final = (
    "DELETE FROM latest WHERE (view, entity) IN (SELECT view, entity FROM latest WHERE gone_ns <= ? LIMIT 10000)"
)
_SWEEP_EVERY_NS: Final = 10 * NS
_WAIT_MS: Final = 5000


class SqliteStore(OnlineStore):
    """`<data>/online-features.sqlite`; each thread has a connection of its own, so that readers wait for nobody.

    Args:
        path: The file; it is made where there is none.
        clock_ns: The time in ns since 1970.

    Raises:
        UnavailableError: It can not be opened.
    """

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._clock_ns = clock_ns
        self._own = threading.local()
        self._lock = threading.Lock()
        self._every: list[sqlite3.Connection] = []
        self._swept_ns = 0
        with self._telling("opening"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection().executescript(_SCHEMA)

    def write(self, view: str, rows: Sequence[OnlineRow], keep_s: float) -> int:
        """See `OnlineStore`."""
        keep_ns, now_ns = int(keep_s * NS), self._clock_ns()
        values = [(view, one.entity, one.at_ns, one.at_ns + keep_ns, to_bytes(one.values)) for one in rows]
        with self._telling("writing"):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                kept = connection.executemany(_WRITE, values).rowcount
                if now_ns - self._swept_ns > _SWEEP_EVERY_NS:
                    connection.execute(_SWEEP, (now_ns,))
                    self._swept_ns = now_ns
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        return max(kept, 0)

    def read(self, view: str, entities: Sequence[str]) -> list[Held | None]:
        """See `OnlineStore`."""
        now_ns = self._clock_ns()
        with self._telling("reading"):
            connection = self._connection()
            rows = [connection.execute(_READ, (view, one, now_ns)).fetchone() for one in entities]
        return [None if row is None else Held(row[0], from_bytes(row[1])) for row in rows]

    def forget(self, view: str) -> None:
        """See `OnlineStore`."""
        with self._telling("forgetting a view"):
            self._connection().execute("DELETE FROM latest WHERE view = ?", (view,))

    def close(self) -> None:
        """See `OnlineStore`."""
        with self._lock:
            for one in self._every:
                one.close()
            self._every.clear()

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if found is None:
            found = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=_WAIT_MS / 1000)
            found.execute("PRAGMA journal_mode = WAL")
            found.execute("PRAGMA synchronous = NORMAL")
            self._own.connection = found
            with self._lock:
                self._every.append(found)
        return found

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(
                f"{doing} online features in {self._path.name}: {error}", "look at the hub's disk, and try again"
            ) from error
