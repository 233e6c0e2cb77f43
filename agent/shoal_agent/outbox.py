"""The outbox: what the hub must get, kept on disk until the hub says that it has committed it.

Sequences have no gaps except at the head, where the oldest messages go when a bound is reached; each message names
the oldest that is still held.
"""

import secrets
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from shoal_agent.settings import OutboxSettings
from shoal_contract.telemetry import OutboxPosition

Channel = Literal["event", "telemetry"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS uploads (sha256 TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL);
"""


class Queued(NamedTuple):
    """One message that waits: `body` is JSON without its outbox position, which is set when it is sent."""

    position: OutboxPosition
    channel: Channel
    kind: str
    body: bytes


class Outbox:
    """`<data>/outbox.sqlite`. Methods may be called from any thread."""

    def __init__(self, path: Path, settings: OutboxSettings) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._settings = settings
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        self.stream = self._fact("stream", lambda: secrets.token_hex(8))
        self.on_change: Callable[[], None] = lambda: None
        self.dropped = 0

    def put(self, channel: Channel, kind: str, body: bytes) -> int:
        """Queue a message durably and return its sequence."""
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO messages (channel, kind, body) VALUES (?, ?, ?)", (channel, kind, body)
            )
            self._trim()
        self.on_change()
        return int(cursor.lastrowid or 0)

    def after(self, sequence: int, limit: int) -> list[Queued]:
        """Return up to `limit` messages beyond `sequence`, in order."""
        with self._lock:
            rows = self._database.execute(
                "SELECT sequence, channel, kind, body FROM messages WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, limit),
            ).fetchall()
            oldest = self._oldest()
        return [
            Queued(OutboxPosition(stream=self.stream, sequence=row[0], oldest=oldest), row[1], row[2], row[3])
            for row in rows
        ]

    def acknowledged(self) -> int:
        """The sequence before the oldest message that waits."""
        with self._lock:
            row = self._database.execute(
                "SELECT coalesce((SELECT min(sequence) - 1 FROM messages),"
                " (SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0)"
            ).fetchone()
        return int(row[0])

    def acknowledge(self, sequence: int) -> None:
        """Drop all messages up to `sequence`: the hub has committed them."""
        with self._lock:
            self._database.execute("DELETE FROM messages WHERE sequence <= ?", (sequence,))

    def depth(self) -> int:
        """Messages that wait."""
        with self._lock:
            return int(self._database.execute("SELECT count(*) FROM messages").fetchone()[0])

    def next_connection(self, now_ms: int) -> int:
        """Return a connection number that is larger than all before, across restarts and clock jumps."""
        with self._lock:
            last = int(self._fact("connection", lambda: "0"))
            number = max(last + 1, now_ms)
            self._database.execute("UPDATE facts SET value = ? WHERE name = 'connection'", (str(number),))
        return number

    def add_upload(self, sha256: str, size_bytes: int) -> None:
        """Note a blob that has to reach the hub."""
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO uploads VALUES (?, ?)", (sha256, size_bytes))

    def drop_upload(self, sha256: str) -> None:
        """Forget a blob: the hub has stored or refused it."""
        with self._lock:
            self._database.execute("DELETE FROM uploads WHERE sha256 = ?", (sha256,))

    def uploads(self) -> dict[str, int]:
        """Blobs that have to reach the hub, with their sizes in bytes."""
        with self._lock:
            return dict(self._database.execute("SELECT sha256, size_bytes FROM uploads").fetchall())

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _fact(self, name: str, make: Callable[[], str]) -> str:
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        if row is None:
            self._database.execute("INSERT INTO facts VALUES (?, ?)", (name, make()))
            return self._fact(name, make)
        return str(row[0])

    def _oldest(self) -> int:
        return int(self._database.execute("SELECT coalesce(min(sequence), 1) FROM messages").fetchone()[0])

    def _trim(self) -> None:
        count, size = self._database.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM messages").fetchone()
        while count > 1 and (count > self._settings.max_messages or size > self._settings.max_bytes):
            sequence, length = self._database.execute(
                "SELECT sequence, length(body) FROM messages ORDER BY sequence LIMIT 1"
            ).fetchone()
            self._database.execute("DELETE FROM messages WHERE sequence = ?", (sequence,))
            count, size, self.dropped = count - 1, size - length, self.dropped + 1
