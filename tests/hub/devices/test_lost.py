"""A lost connection begins a grace, on both engines: who comes back within it was never away."""

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.simulators.rows import NOON, add_device

from shoal_contract.reported import CONNECTION_LOST, Presence
from shoal_contract.telemetry import Heartbeat, TelemetryMessage
from shoal_hub.database import Database
from shoal_hub.devices.lost import note_lost
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.silence import SHORTEST, note_silence
from shoal_hub.devices.tables import Device
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received

GRACE = timedelta(seconds=30)
MOMENT = timedelta(seconds=1)
LONG_AGO = NOON - timedelta(days=1)
AT_THE_START = NOON - timedelta(hours=1)
"""When the connections were made, and so their wills written."""


def birth(connection: int) -> Presence:
    return Presence(state="online", connection=connection, sequence=0, since=AT_THE_START, instance="a" * 16)


def will(connection: int) -> Presence:
    return birth(connection).model_copy(update={"state": "offline", "sequence": 1, "reason": CONNECTION_LOST})


def farewell(connection: int) -> Presence:
    return will(connection).model_copy(update={"reason": "stopped"})


def heartbeat(connection: int) -> TelemetryMessage:
    usual = {"at": NOON, "uptime_s": 1, "memory_bytes": 1, "load": 0, "outbox_depth": 0, "sequence": 9}
    return TelemetryMessage(body=Heartbeat.model_validate(usual | {"connection": connection}))


class Hub:
    """One device, what ingest hears of it, and what is shown of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.committer = Committer(database, Handlers())
        with database.transaction() as session:
            self.device_id = add_device(session).id
        self.told: list[str] = []
        database.on_commit = self.told.extend

    def hear(self, *messages: Presence | TelemetryMessage, at: datetime = NOON) -> None:
        self.committer.commit([Received(self.device_id, message) for message in messages], at)

    def look(self, at: datetime, since: datetime = LONG_AGO, grace: timedelta = GRACE) -> None:
        note_lost(self.database, at, since, grace)

    @property
    def device(self) -> Device:
        with self.database.session() as session:
            return session.get_one(Device, self.device_id)

    @property
    def shown(self) -> tuple[str, str]:
        return self.device.presence, self.device.presence_reason


@pytest.fixture
def hub(database: Database) -> Hub:
    return Hub(database)


def test_who_loses_the_connection_is_online_until_the_grace_is_over(hub: Hub) -> None:
    hub.hear(birth(1))
    hub.hear(will(1), at=NOON + MOMENT)
    hub.look(NOON + GRACE)
    assert hub.shown == ("online", "")
    hub.look(NOON + GRACE + MOMENT)
    assert hub.shown == ("offline", CONNECTION_LOST)
    assert hub.device.presence_since == NOON + MOMENT, "since it was lost, not since the will was written"


def test_who_comes_back_within_the_grace_was_never_away(hub: Hub) -> None:
    hub.hear(birth(1))
    del hub.told[:]
    hub.hear(will(1), at=NOON)
    hub.look(NOON + GRACE - MOMENT)
    assert "devices" not in hub.told, "whoever follows the fleet hears nothing"
    hub.hear(birth(2), at=NOON + GRACE - MOMENT)
    hub.look(NOON + 10 * GRACE)
    assert hub.shown == ("online", "")
    assert hub.device.presence_lost_at is None


def test_a_device_that_says_farewell_is_offline_at_once(hub: Hub) -> None:
    hub.hear(birth(1), farewell(1))
    assert hub.shown == ("offline", "stopped")


def test_the_will_of_an_older_connection_begins_no_grace(hub: Hub) -> None:
    hub.hear(birth(1), birth(2), will(1))
    assert hub.device.presence_lost_at is None
    hub.look(NOON + 10 * GRACE)
    assert hub.shown == ("online", "")


def test_a_will_that_comes_again_does_not_begin_the_grace_anew(hub: Hub) -> None:
    hub.hear(birth(1), will(1))
    hub.hear(will(1), at=NOON + GRACE - MOMENT)
    hub.look(NOON + GRACE)
    assert hub.shown == ("offline", CONNECTION_LOST)


def test_a_heartbeat_ends_the_grace_if_it_is_of_a_later_connection(hub: Hub) -> None:
    hub.hear(birth(1), will(1))
    hub.hear(heartbeat(1), at=NOON + MOMENT)
    assert hub.device.presence_lost_at == NOON, "it was on its way when the connection was lost"
    hub.hear(heartbeat(2), at=NOON + 2 * MOMENT)
    assert hub.device.presence_lost_at is None
    hub.hear(heartbeat(3), will(3), at=NOON + 3 * MOMENT)
    assert hub.device.presence_lost_at == NOON + 3 * MOMENT, "the will in the same batch is of that connection"
    hub.hear(birth(4))
    hub.look(NOON + 2 * GRACE)
    assert hub.shown == ("online", "")


def test_a_hub_that_restarts_within_the_grace_keeps_it_and_first_listens_as_long(hub: Hub) -> None:
    hub.hear(birth(1), will(1))
    started = NOON + GRACE - MOMENT
    hub.look(NOON + GRACE, since=started)
    assert hub.shown == ("online", ""), "it may have come back while nobody listened"
    hub.look(started + GRACE, since=started)
    assert hub.shown == ("offline", CONNECTION_LOST)


def test_a_device_that_was_never_online_is_offline_at_once(hub: Hub) -> None:
    hub.hear(will(7))
    assert hub.shown == ("offline", CONNECTION_LOST)
    assert hub.device.presence_since == NOON


def test_without_a_grace_a_lost_connection_shows_at_the_next_look(hub: Hub) -> None:
    hub.hear(birth(1), will(1))
    hub.look(NOON, grace=timedelta(0))
    assert hub.shown == ("offline", CONNECTION_LOST)


def test_a_device_that_is_revoked_within_the_grace_stays_revoked(hub: Hub) -> None:
    hub.hear(birth(1), will(1))
    with hub.database.transaction() as session:
        revoke(session, session.get_one(Device, hub.device_id), by="ada", reason="stolen", now=NOON)
    hub.look(NOON + 2 * GRACE)
    assert hub.shown == ("offline", "revoked")


def test_a_grace_that_is_longer_than_the_hub_waits_for_heartbeats_is_not_cut_short(hub: Hub) -> None:
    hub.hear(birth(1), will(1))
    note_silence(hub.database, NOON + 2 * SHORTEST, LONG_AGO)
    hub.look(NOON + 2 * SHORTEST, grace=4 * SHORTEST)
    assert hub.shown == ("online", "")


def test_a_return_that_is_being_committed_when_the_grace_ends_wins(hub: Hub) -> None:
    hub.hear(birth(1), will(1))
    looking = threading.Thread(target=hub.look, args=[NOON + GRACE])
    with hub.database.transaction() as session:
        session.get_one(Device, hub.device_id, with_for_update=True).sqlmodel_update(
            {"presence_lost_at": None, "presence_connection": 2, "presence_sequence": 0}
        )
        session.flush()
        looking.start()
        looking.join(timeout=0.3)
        assert looking.is_alive(), "it waits for the row, of which it has read that the grace is over"
    looking.join(timeout=10)
    assert hub.shown == ("online", "")


WORDS = st.sampled_from([birth(2), birth(3), birth(4), will(1), will(2), will(3), farewell(2)])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.tuples(WORDS, st.integers(0, 40), st.booleans()), min_size=3, max_size=8))
def test_in_any_order_the_latest_word_decides_once_the_grace_is_over(
    words: Sequence[tuple[Presence, int, bool]], database: Database
) -> None:
    hub, now = Hub(database), NOON
    hub.hear(birth(1))
    for word, pause_s, looks in words:
        hub.hear(word, at=now)
        now += timedelta(seconds=pause_s)
        if looks:
            hub.look(now)
    hub.look(now + GRACE)
    latest = max([birth(1), *(word for word, *_ in words)], key=lambda one: (one.connection, one.sequence))
    assert (hub.device.presence, hub.device.presence_connection) == (latest.state, latest.connection)
