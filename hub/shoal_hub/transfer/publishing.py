"""Puts artifacts to the broker as retained chunks, and takes them away again. Every step can be repeated."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from logging import getLogger
from typing import Final, Protocol

from sqlmodel import Session, col, delete, func, select, update

from shoal_contract import topics
from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_contract.transfer import DeltaRef, chunk_bytes_for, split
from shoal_hub.database import Database
from shoal_hub.errors import ArtifactError
from shoal_hub.events.record import record_event
from shoal_hub.mqtt import NONE
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Artifact
from shoal_hub.transfer.chunk_lists import list_chunks
from shoal_hub.transfer.deltas import named_deltas
from shoal_hub.transfer.tables import Lease, Retained

_log = getLogger(__name__)
_WINDOW: Final = 20
_CONFIRM_TIMEOUT_S: Final = 60.0
_RETRY: Final = timedelta(minutes=1)
DEFAULT_BUDGET_BYTES: Final = 256 * 2**20


class Publisher(Protocol):
    """What a connection to the broker offers."""

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, properties: Mapping[str, str] = NONE
    ) -> "Future[None]":
        """Send one message; the future is done when the broker has taken it."""

    def gathering(self) -> AbstractContextManager[None]:
        """Have what is published within the block leave in few writes, at the latest at its end."""


class Transfers:
    """Brings what is retained at the broker in line with the leases.

    Args:
        database: Where leases and the state of each artifact are.
        store: Where the bytes come from.
        grace: Between taking the manifest away, when devices stop to begin, and clearing the chunks.
        budget_bytes: What may stand at the broker; devices have the rest over HTTPS.
    """

    def __init__(
        self, database: Database, store: ArtifactStore, grace: timedelta, budget_bytes: int = DEFAULT_BUDGET_BYTES
    ) -> None:
        self._budget_bytes = budget_bytes
        self._database = database
        self._store = store
        self._grace = grace
        self._unreadable_until: dict[str, datetime] = {}

    def step(self, publisher: Publisher, now: datetime) -> bool:
        """Do the most urgent piece of work, one artifact at most; return whether there was any.

        Raises:
            MqttError: The connection went; the work is done again later.
        """
        with self._database.transaction() as session:
            withdrawn = follow_leases(session, now, self._budget_bytes)
            # The smallest first: a delta that stands is named as soon as the file that it leads to is published.
            retained = session.exec(_BY_SIZE).all()
            named = named_deltas(session)
        publishing = [row for row in retained if row.state == "publishing"]
        outdated = [row for row in retained if _is_outdated(row, named)]
        withdrawing = [row for row in retained if row.state == "withdrawing" and row.changed_at <= now - self._grace]
        for sha256 in withdrawn:
            publisher.publish(topics.artifact_manifest(sha256), b"", retain=True).result(_CONFIRM_TIMEOUT_S)
        for row in outdated:
            if self._unreadable_until.get(row.sha256, now) <= now:
                self._publish_manifest(publisher, row, named.get(row.sha256, {}), now)
                return True
        for row in publishing:
            if self._unreadable_until.get(row.sha256, now) <= now:
                self._publish(publisher, row, now)
                return True
        for row in withdrawing:
            self._clear(publisher, row)
            return True
        return False

    def assert_all(self) -> None:
        """Have everything that is leased published again: the broker has lost what it had."""
        with self._database.transaction() as session:
            statement = update(Retained).where(col(Retained.state) == "standing").values(state="publishing")
            session.connection().execute(statement)

    def _publish(self, publisher: Publisher, row: Retained, now: datetime) -> None:
        data = self._read(row, now)
        if data is None:
            return
        sends = (
            (topics.artifact_chunk(row.sha256, index), chunk)
            for index, chunk in enumerate(split(data, row.chunk_bytes))
        )
        waiting: deque[Future[None]] = deque()
        for topic, chunk in sends:
            waiting.append(publisher.publish(topic, chunk, retain=True))
            if len(waiting) >= _WINDOW:
                waiting.popleft().result(_CONFIRM_TIMEOUT_S)
        for one in waiting:
            one.result(_CONFIRM_TIMEOUT_S)
        self._publish_manifest(publisher, row, self._named().get(row.sha256, {}), now)

    def _named(self) -> dict[str, dict[str, DeltaRef]]:
        with self._database.session() as session:
            return named_deltas(session)

    def _publish_manifest(
        self, publisher: Publisher, row: Retained, deltas: dict[str, DeltaRef], now: datetime
    ) -> None:
        """Have the manifest name these deltas; the chunks' hashes are made once, and kept."""
        try:
            listed = list_chunks(self._database, self._store, row.sha256, row.chunk_bytes)
        except ArtifactError as error:
            self._note_unreadable(row, error, now)
            return
        manifest = listed.model_copy(update={"deltas": deltas}).to_bytes()
        publisher.publish(topics.artifact_manifest(row.sha256), manifest, retain=True).result(_CONFIRM_TIMEOUT_S)
        with self._database.transaction() as session:
            statement = update(Retained).where(col(Retained.sha256) == row.sha256, col(Retained.state) == row.state)
            values = {"state": "standing", "changed_at": now, "deltas": sorted(deltas)}
            session.connection().execute(statement.values(values))

    def _read(self, row: Retained, now: datetime) -> bytes | None:
        try:
            return self._store.read(row.sha256)
        except ArtifactError as error:
            self._note_unreadable(row, error, now)
            return None

    def _note_unreadable(self, row: Retained, error: ArtifactError, now: datetime) -> None:
        self._unreadable_until[row.sha256] = now + _RETRY
        with self._database.transaction() as session:
            record_event(session, "artifact_unreadable", str(error), subject=f"artifact/{row.sha256}", severity="error")

    def _clear(self, publisher: Publisher, row: Retained) -> None:
        publisher.publish(topics.artifact_manifest(row.sha256), b"", retain=True).result(_CONFIRM_TIMEOUT_S)
        chunks = range(-(-row.size_bytes // row.chunk_bytes))
        sends = [publisher.publish(topics.artifact_chunk(row.sha256, index), b"", retain=True) for index in chunks]
        for one in sends:
            one.result(_CONFIRM_TIMEOUT_S)
        with self._database.transaction() as session:
            gone = delete(Retained).where(col(Retained.sha256) == row.sha256, col(Retained.state) == "withdrawing")
            session.exec(gone)


def follow_leases(session: Session, now: datetime, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> list[str]:
    """Have what is leased published, and what nobody leases any more withdrawn; return the latter.

    The smallest first, as far as all that stands stays within the budget; what is too large for chunks never stands. A
    file for which there is no room now is published as soon as there is.
    """
    new = _new_artifacts(session)
    for artifact in new[: _fitting(session, new, budget_bytes)]:
        session.merge(
            Retained(
                sha256=artifact.sha256,
                size_bytes=artifact.size_bytes,
                chunk_bytes=chunk_bytes_for(artifact.size_bytes),
                state="publishing",
                changed_at=now,
            )
        )
    rows = session.exec(_OVER).all()
    for row in rows:
        row.state, row.changed_at = "withdrawing", now
        session.add(row)
    return [row.sha256 for row in rows]


def without_room(session: Session, budget_bytes: int) -> frozenset[str]:
    """Return what is leased and has no room at the broker now, by `follow_leases`: it comes over HTTPS alone."""
    new = _new_artifacts(session)
    return frozenset(one.sha256 for one in new[_fitting(session, new, budget_bytes) :])


def _new_artifacts(session: Session) -> Sequence[Artifact]:
    """Return what is leased, does not stand and could, the smallest first."""
    return session.exec(_NEW).all()


# Built once: it is looked for what they find at each step.
_LEASED: Final = select(Lease.sha256)
_HELD: Final = select(Retained.sha256).where(Retained.state != "withdrawing")
_NEW: Final = (
    select(Artifact)
    .where(col(Artifact.sha256).in_(_LEASED), col(Artifact.sha256).not_in(_HELD))
    .where(col(Artifact.size_bytes) <= MAX_ARTIFACT_BYTES)
    .order_by(col(Artifact.size_bytes))
)
_OVER: Final = select(Retained).where(col(Retained.sha256).not_in(_LEASED), Retained.state != "withdrawing")
_BY_SIZE: Final = select(Retained).order_by(col(Retained.size_bytes))


def _fitting(session: Session, new: Sequence[Artifact], budget_bytes: int) -> int:
    """Return how many of these, from the first on, fit beside what stands."""
    if not new:
        return 0
    room_bytes = budget_bytes - session.exec(select(func.coalesce(func.sum(Retained.size_bytes), 0))).one()
    for number, artifact in enumerate(new):
        returning = session.get(Retained, artifact.sha256)  # its chunks stand until the end of their grace
        room_bytes -= artifact.size_bytes if returning is None else 0
        if room_bytes < 0:
            return number
    return len(new)


def _is_outdated(row: Retained, named: Mapping[str, Collection[str]]) -> bool:
    """Whether it stands under a manifest that names other deltas than there are."""
    return row.state == "standing" and set(row.deltas) != set(named.get(row.sha256, ()))
