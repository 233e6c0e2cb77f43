"""Brings the TUF metadata at the broker in line with the database's, by level: what it lacks is published.

Order matters to a device in the middle of a refresh: roots, delegated roles, targets, snapshot, timestamp, index; and
only then what is no longer wanted is cleared.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from shoal_contract import topics
from shoal_contract.trust import TrustIndex
from shoal_hub.database import Database
from shoal_hub.transfer.publishing import Publisher
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.renewal import claimed_version, renew_due, sign_all_again
from shoal_hub.trust.repository import count_writes
from shoal_hub.trust.roles import OFFLINE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, parse_stored_name, stored_name
from shoal_hub.trust.tables import TrustMetadata

_CONFIRM_TIMEOUT_S: Final = 30.0
_PREFIX: Final = topics.TRUST_FILTER.removesuffix("#")
_LAST: Final = (TARGETS, SNAPSHOT)


class TrustPublisher:
    """Knows what the broker holds under `trust/`, from what it delivers, and publishes what differs.

    Args:
        database: Where the metadata is.
        trust: The hub's keys.
    """

    def __init__(self, database: Database, trust: HubTrust) -> None:
        self._database = database
        self._trust = trust
        self._held: dict[str, bytes] = {}
        self._is_changed = True
        self._writes = -1
        self._was_compared = False
        self._has_begun = False

    def forget(self) -> None:
        """A new connection: what the broker holds is told anew, retained."""
        self._held.clear()
        self._was_compared = False

    def hear(self, topic: str, payload: bytes) -> None:
        """Take note of a message under `trust/`; our own come back and change nothing."""
        self._is_changed |= self._held.get(topic, b"") != payload
        if payload:
            self._held[topic] = payload
        else:
            self._held.pop(topic, None)

    def look(self) -> None:
        """Take note of whether metadata was written since it was published last."""
        with self._database.session() as session:
            self._is_changed |= count_writes(session) != self._writes

    def renew(self, now: datetime) -> None:
        """Sign again what is due."""
        self._is_changed |= renew_due(self._database, self._trust, now)

    def step(self, publisher: Publisher, now: datetime) -> None:
        """Publish what the broker lacks; all is signed again first at the start, and where the broker is ahead.

        Raises:
            MqttError: The connection went; it is done again.
        """
        if not self._was_compared:
            retained = {topic.removeprefix(_PREFIX): payload for topic, payload in self._held.items()}
            if not self._has_begun or self._is_ahead(retained):
                sign_all_again(self._database, self._trust, now, retained)
            self._has_begun = self._was_compared = self._is_changed = True
        if self._is_changed:
            with self._database.session() as session:
                writes = count_writes(session)  # first: what is written meanwhile is found by the next look
                wanted = list(_wanted(session))
            for topic, payload in wanted:
                self._put(publisher, topic, payload)
            names = {topic for topic, _ in wanted}
            for topic in [topic for topic in self._held if topic not in names]:
                self._put(publisher, topic, b"")
            self._is_changed, self._writes = False, writes

    def _is_ahead(self, retained: dict[str, bytes]) -> bool:
        """Whether the broker keeps metadata that is later than the database's."""
        with self._database.session() as session:
            versions = {row.role: row.version for row in self._trust.reading(session).standing()}
        if claimed_version(retained.get(TIMESTAMP, b"")) > versions.get(TIMESTAMP, 0):
            return True
        names = [parsed for name in retained if (parsed := parse_stored_name(name)) is not None]
        return any(version > versions.get(role, 0) for version, role in names if role in OFFLINE)

    def _put(self, publisher: Publisher, topic: str, payload: bytes) -> None:
        if self._held.get(topic, b"") == payload:
            return
        publisher.publish(topic, payload, retain=True).result(_CONFIRM_TIMEOUT_S)
        if payload:
            self._held[topic] = payload
        else:
            del self._held[topic]


def _wanted(session: Session) -> Iterator[tuple[str, bytes]]:
    """Yield every topic and its payload, in the order of publication."""
    rows = session.exec(select(TrustMetadata).order_by(col(TrustMetadata.version))).all()
    if not rows:
        return
    newest = {row.role: row for row in rows}
    names = []
    for row in sorted(rows, key=_rank):
        if row.role != TIMESTAMP:
            names.append(stored_name(row.version, row.role))
            yield topics.trust_metadata(row.version, row.role), row.content
    if TIMESTAMP in newest:
        yield topics.TRUST_TIMESTAMP, newest[TIMESTAMP].content
    yield topics.TRUST_INDEX, TrustIndex(names=tuple(names)).to_bytes()


def _rank(row: TrustMetadata) -> tuple[int, int]:
    order = 0 if row.role == ROOT else _LAST.index(row.role) + 2 if row.role in _LAST else 1
    return order, row.version
