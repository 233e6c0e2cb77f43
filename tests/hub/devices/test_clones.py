"""One identity in two places: told from restarts, crashes and late words of the device alone."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select
from tests.simulators.rows import NOON, add_device

from shoal_contract.reported import Presence
from shoal_hub.database import Database
from shoal_hub.devices.clones import follow
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received

FIRST, SECOND, THIRD = "a" * 16, "b" * 16, "c" * 16
INSTANCES = st.lists(st.integers(0, 2**64 - 1).map(lambda one: f"{one:016x}"), max_size=60)


@pytest.fixture
def device_id(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session).id


def come_online(database: Database, device_id: str, connection: int, instance: str, minutes: float = 0) -> None:
    presence = Presence(state="online", connection=connection, sequence=0, since=NOON, instance=instance)
    Committer(database, Handlers()).commit([Received(device_id, presence)], NOON + timedelta(minutes=minutes))


def alarms(database: Database) -> list[str]:
    with database.session() as session:
        return [row.message for row in session.exec(select(EventRow).where(EventRow.kind == "device_cloned")).all()]


def test_two_copies_that_push_each_other_out_are_told_once_an_hour(database: Database, device_id: str) -> None:
    for connection, instance in enumerate([FIRST, SECOND, FIRST, SECOND, FIRST]):
        come_online(database, device_id, connection, instance)
    assert len(alarms(database)) == 1
    assert "shoal devices revoke" in alarms(database)[0]
    with database.session() as session:
        assert session.get_one(Device, device_id).clone_seen_at == NOON
    come_online(database, device_id, 9, SECOND, minutes=61)
    assert len(alarms(database)) == 2


def test_a_device_that_reconnects_and_restarts_is_no_clone(database: Database, device_id: str) -> None:
    for connection, instance in enumerate([FIRST, FIRST, SECOND, SECOND, THIRD]):
        come_online(database, device_id, connection, instance)
    assert alarms(database) == []


def test_a_late_word_of_the_instance_before_is_no_clone(database: Database, device_id: str) -> None:
    come_online(database, device_id, 5, FIRST)
    come_online(database, device_id, 7, SECOND)
    come_online(database, device_id, 5, FIRST)
    come_online(database, device_id, 6, FIRST)
    assert alarms(database) == []


@given(INSTANCES)
def test_what_is_remembered_is_bounded_and_ends_with_the_present_one(seen: list[str]) -> None:
    known: list[str] = []
    for instance in seen:
        known = follow(known, instance).known
        assert known[-1] == instance
        assert len(known) <= 16
        assert len(set(known)) == len(known)
