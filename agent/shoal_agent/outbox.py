"""The outbox: what the hub must get, kept on disk until the hub says that it has committed it.

Sequences have no gaps except at the head, where the oldest messages go when a bound is reached; each message names
the oldest that is still held. A write is durable before it returns: a sequence that was sent is never given again, and
what stands under it never changes. A step of a deployment that nobody has read yet gives way to the next one.
"""

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from logging import getLogger
from pathlib import Path
from typing import Literal, NamedTuple

from shoal_agent.durable import make_folder
from shoal_agent.errors import DiskError
from shoal_agent.passing_steps import PASSING, take_along
from shoal_agent.settings import OutboxSettings
from shoal_agent.sqlite_file import open_sqlite
from shoal_contract.telemetry import DeploymentEvent, Event, EventBody, OutboxPosition, TelemetryMessage

_log = getLogger(__name__)
Channel = Literal["event", "telemetry"]
_LAST_STREAM = 16**16 - 1
UNPLACED = OutboxPosition(stream="0" * 16, sequence=1, oldest=1)
"""Stands in a queued message until it is sent; `outbox_batches.sealed` puts the true place in."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS uploads (sha256 TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL);
"""

_COUNT = "SELECT count(*), coalesce(sum(length(body)), 0) FROM messages"


class Queued(NamedTuple):
    """One message that waits: `body` is JSON without its outbox position, which is set when it is sent."""

    position: OutboxPosition
    channel: Channel
    kind: str
    body: bytes


class _Step(NamedTuple):
    """A step of a deployment that waits, and how large its message is."""

    sequence: int
    size_bytes: int
    body: DeploymentEvent


class Outbox:
    """`<data>/outbox.sqlite`. Methods may be called from any thread; each raises DiskError where the disk fails.

    A damaged file is put aside and another begun, as a device that can not report must still serve.
    """

    def __init__(self, path: Path, settings: OutboxSettings, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._settings = settings
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._path = path
        self._connection = 0
        make_folder(path.parent)
        self._database = open_sqlite(path, _SCHEMA, "FULL", "what waited in the outbox is lost")
        self.stream = self._fact("stream", lambda: f"{clock_ns():016x}")
        self.on_change: Callable[[float], object] = lambda _: None
        """Called after each message with how long it can wait for others to travel with, in seconds."""
        self.dropped = 0
        self._count, self._bytes = self._database.execute(_COUNT).fetchone()
        self._step: _Step | None = None
        """The last message, as long as it is a step of a deployment that nobody has read."""

    def put(self, channel: Channel, kind: str, body: bytes, *, linger_s: float = 0.0) -> int:
        """Queue a message durably and return its sequence; `on_change` is called in the same thread.

        Args:
            channel: Where it goes.
            kind: What it is, for people who look into the file.
            body: JSON, with any place in the outbox.
            linger_s: How much later it may be sent, together with what comes meanwhile.
        """
        with self._writing("queueing a message"):
            self._step = None
            sequence = self._add(channel, kind, body)
        self.on_change(linger_s)
        return sequence

    def put_event(self, body: EventBody, now: datetime, progress_s: float = 0.0) -> int:
        """Queue an event with an id of its own, see `put`.

        Args:
            body: What has happened.
            now: The clock.
            progress_s: How long a step on the way waits, if longer than set.
        """
        event = Event(event_id=secrets.token_hex(16), outbox=UNPLACED, at=now, body=body)
        linger_s = self._linger_s(body, progress_s)
        if not isinstance(body, DeploymentEvent):
            return self.put("event", body.kind, event.to_bytes(), linger_s=linger_s)
        with self._writing("queueing a message"):
            sequence = self._add_step(event, body)
        self.on_change(linger_s)
        return sequence

    def put_window(self, kind: str, message: TelemetryMessage) -> int:
        """Queue a window of telemetry, which can wait for others, see `put`."""
        return self.put("telemetry", kind, message.to_bytes(), linger_s=self._settings.linger_s)

    def after(self, sequence: int, limit: int) -> list[Queued]:
        """Return up to `limit` messages beyond `sequence`, in order."""
        with self._writing("reading what waits"):
            rows = self._database.execute(
                "SELECT sequence, channel, kind, body FROM messages WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, limit),
            ).fetchall()
            oldest = self._oldest()
            if self._step is not None and any(row[0] == self._step.sequence for row in rows):
                self._step = None
        return [
            Queued(OutboxPosition(stream=self.stream, sequence=row[0], oldest=oldest), row[1], row[2], row[3])
            for row in rows
        ]

    def acknowledged(self) -> int:
        """The sequence before the oldest message that waits."""
        with self._writing("reading what is acknowledged"):
            row = self._database.execute("SELECT min(sequence) - 1 FROM messages").fetchone()
            return int(row[0]) if row[0] is not None else self._last()

    def last(self) -> int:
        """The last sequence that was given, 0 before the first."""
        with self._writing("reading the last sequence"):
            return self._last()

    def acknowledge(self, sequence: int) -> None:
        """Drop all messages up to `sequence`: the hub has committed them."""
        with self._writing("dropping what the hub has"):
            count, size = self._database.execute(f"{_COUNT} WHERE sequence <= ?", (sequence,)).fetchone()
            self._database.execute("DELETE FROM messages WHERE sequence <= ?", (sequence,))
            self._count, self._bytes = self._count - count, self._bytes - size
            if self._step is not None and self._step.sequence <= sequence:  # the disk is an older copy
                self._step = None

    def depth(self) -> int:
        """Messages that wait."""
        return int(self._count)

    def begin_stream(self, after: str = "") -> None:
        """Go on under a later stream's name: the hub knows more than this disk, a restored copy or a lost one.

        Args:
            after: The latest stream that the hub knows of this device.
        """
        number = max(int(max(after, self.stream), 16) + 1, self._clock_ns())
        if number > _LAST_STREAM:
            _log.error("outbox: the hub knows the stream %s, after which none comes: it is not believed", after)
            return
        with self._writing("beginning another stream"):
            self.stream = f"{number:016x}"
            self._database.execute("UPDATE facts SET value = ? WHERE name = 'stream'", (self.stream,))

    def next_connection(self, now_ms: int) -> int:
        """Return a connection number that is larger than all before, across restarts and clock jumps.

        On a disk that takes no writes it still rises for as long as the process lives.
        """
        with self._lock:
            try:
                last = max(self._connection, int(self._fact("connection", lambda: "0")))
                self._connection = max(last + 1, now_ms)
                self._set_fact("connection", str(self._connection))
            except sqlite3.Error as error:
                self._connection = max(self._connection + 1, now_ms)
                _log.error("outbox: the connection's number could not be kept: %s", error)
            return self._connection

    def add_upload(self, sha256: str, size_bytes: int) -> None:
        """Note a blob that has to reach the hub."""
        with self._writing("noting an upload"):
            self._database.execute("INSERT OR IGNORE INTO uploads VALUES (?, ?)", (sha256, size_bytes))

    def drop_upload(self, sha256: str) -> None:
        """Forget a blob: the hub has stored or refused it."""
        with self._writing("forgetting an upload"):
            self._database.execute("DELETE FROM uploads WHERE sha256 = ?", (sha256,))

    def uploads(self) -> dict[str, int]:
        """Blobs that have to reach the hub, with their sizes in bytes."""
        with self._writing("reading the uploads"):
            return dict(self._database.execute("SELECT sha256, size_bytes FROM uploads").fetchall())

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise DiskError(f"{doing} in {self._path}: {error}", "free some disk space") from error

    def _add(self, channel: Channel, kind: str, body: bytes) -> int:
        cursor = self._database.execute(
            "INSERT INTO messages (channel, kind, body) VALUES (?, ?, ?)", (channel, kind, body)
        )
        self._count, self._bytes = self._count + 1, self._bytes + len(body)
        self._trim()
        return int(cursor.lastrowid or 0)

    def _add_step(self, event: Event, body: DeploymentEvent) -> int:
        """Add a step, in the place of the one before it if that may travel in it."""
        before, self._step = self._step, None
        whole = take_along(before.body, body) if before is not None else None
        if before is None or whole is None:
            data = event.to_bytes()
            sequence = self._add("event", body.kind, data)
        else:
            data, sequence = event.model_copy(update={"body": whole}).to_bytes(), before.sequence
            self._database.execute("UPDATE messages SET body = ? WHERE sequence = ?", (data, sequence))
            self._bytes += len(data) - before.size_bytes
        self._step = _Step(sequence, len(data), whole or body)
        return sequence

    def _linger_s(self, body: EventBody, progress_s: float) -> float:
        if not isinstance(body, DeploymentEvent):
            return 0.0
        return max(self._settings.linger_s, progress_s) if body.step in PASSING else self._settings.ending_s

    def _fact(self, name: str, make: Callable[[], str]) -> str:
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        if row is None:
            row = (make(),)
            self._set_fact(name, row[0])
        return str(row[0])

    def _set_fact(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _oldest(self) -> int:
        return int(self._database.execute("SELECT coalesce(min(sequence), 1) FROM messages").fetchone()[0])

    def _last(self) -> int:
        row = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
        return int(row[0]) if row else 0

    def _trim(self) -> None:
        while self._count > 1 and (self._count > self._settings.max_messages or self._bytes > self._settings.max_bytes):
            sequence, length = self._database.execute(
                "SELECT sequence, length(body) FROM messages ORDER BY sequence LIMIT 1"
            ).fetchone()
            self._database.execute("DELETE FROM messages WHERE sequence = ?", (sequence,))
            self._count, self._bytes, self.dropped = self._count - 1, self._bytes - length, self.dropped + 1
