"""However a device's outbox is split into messages, resent and cut off: the hub commits the same, in order and once."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, select
from tests.simulators.rows import NOON, add_device

from shoal_agent.outbox import Queued
from shoal_agent.outbox_batches import sealed, split
from shoal_contract import topics
from shoal_contract.device_signature import device_key_id, sign_up
from shoal_contract.telemetry import DeploymentEvent, Event, OutboxPosition
from shoal_hub.database import Database
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import EventRow
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received, read

KEY = ec.derive_private_key(3, ec.SECP256R1())
KEY_ID = device_key_id(KEY.public_key())
KEYS = {KEY_ID: KEY.public_key()}
MESSAGES = 12


@pytest.fixture
def new_hub(database: Database) -> Callable[[], "Hub"]:
    return lambda: Hub(database)


class Hub:
    """A committer, and a device of its own at it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.handlers = Handlers()
        self.handlers.on(DeploymentEvent, self._handle)
        self.committer = Committer(database, self.handlers)
        with database.transaction() as session:
            self.device_id = add_device(session).id
        self.acknowledged = 0

    def _handle(self, session: Session, device_id: str, body: DeploymentEvent, _now: Any) -> None:
        record_event(session, "handled", f"{body.duration_s:.0f}", device_id=device_id)

    @property
    def handled(self) -> list[int]:
        """What was handled and is committed, in order."""
        with self.database.session() as session:
            mine = select(EventRow).where(EventRow.kind == "handled", EventRow.device_id == self.device_id)
            return [int(row.message) for row in session.exec(mine.order_by(col(EventRow.id)))]

    def outbox(self, unreadable: set[int]) -> list[Queued]:
        """Return the device's outbox, from the oldest that is not acknowledged on."""
        return [self._queued(number, number in unreadable) for number in range(self.acknowledged + 1, MESSAGES + 1)]

    def _queued(self, number: int, is_unreadable: bool) -> Queued:
        place = OutboxPosition(stream="a" * 16, sequence=number, oldest=self.acknowledged + 1)
        body = DeploymentEvent(model="digits", version=1, deployment="dp-1", step="fetch", duration_s=number)
        identity = f"{self.device_id[2:].encode().hex()[:24]}{number:08x}"
        event = json.loads(Event(event_id=identity, outbox=place, at=NOON, body=body).to_bytes())
        if is_unreadable:
            event["body"] = {"kind": "of tomorrow"}
        return Queued(place, "event", "x", json.dumps(event).encode())

    def take(self, parts: list[list[Queued]]) -> None:
        """Commit what arrives as one batch of the hub's, and note the acknowledgement."""
        received: list[Received] = []
        for part in parts:
            channel, payload = sealed(part)
            source = topics.parse_up(topics.up(self.device_id, channel))
            received += read(source, sign_up(payload, channel, KEY, KEY_ID), KEYS)
        ack = self.committer.commit(received, NOON).acks.get(self.device_id)
        self.acknowledged = max(self.acknowledged, ack.sequence if ack else 0)

    def restart(self) -> None:
        self.committer = Committer(self.database, self.handlers)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), unreadable=st.sets(st.integers(1, MESSAGES), max_size=4))
def test_any_split_of_the_outbox_commits_the_same(
    new_hub: Callable[[], Hub], data: st.DataObject, unreadable: set[int]
) -> None:
    hub = new_hub()
    for _ in range(5):
        parts = [list(part) for part in split(hub.outbox(unreadable), data.draw(st.integers(1, MESSAGES)), 10**6)]
        arriving = data.draw(st.lists(st.sampled_from(parts), max_size=8) if parts else st.just([]))
        if arriving:
            hub.take(arriving)
        if data.draw(st.booleans()):
            hub.restart()  # what waited ahead of a gap is lost, and comes again
    if hub.acknowledged < MESSAGES:
        hub.take([list(part) for part in split(hub.outbox(unreadable), data.draw(st.integers(1, MESSAGES)), 10**6)])
    assert hub.handled == [number for number in range(1, MESSAGES + 1) if number not in unreadable]
    assert hub.acknowledged == MESSAGES


def test_a_batch_ahead_of_a_gap_waits_as_a_whole(new_hub: Callable[[], Hub]) -> None:
    hub = new_hub()
    first, second, third = (list(part) for part in split(hub.outbox(set()), 4, 10**6))
    hub.take([third])
    assert (hub.handled, hub.acknowledged) == ([], 0)
    hub.take([first])
    assert hub.acknowledged == 4
    hub.take([second])
    assert hub.handled == list(range(1, MESSAGES + 1))
    assert hub.committer.commit([], NOON + timedelta(seconds=1)).acks == {}


def test_half_of_a_batch_that_the_hub_has_already_is_not_committed_again(new_hub: Callable[[], Hub]) -> None:
    hub = new_hub()
    waiting = hub.outbox(set())
    hub.take([waiting[:5]])
    hub.take([waiting[2:9]])
    assert (hub.handled, hub.acknowledged) == (list(range(1, 10)), 9)
