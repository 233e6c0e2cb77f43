"""Presence and reported state move only forward, on both engines."""

from datetime import timedelta
from typing import Literal

import pytest
from tests.simulators.rows import NOON, add_device, apply_reported, make_report

from shoal_contract.reported import Presence
from shoal_hub.database import Database
from shoal_hub.devices.presence import apply_presence
from shoal_hub.devices.tables import Device


def _presence(state: Literal["online", "offline"], connection: int) -> Presence:
    return Presence(
        state=state, connection=connection, sequence=0 if state == "online" else 1, since=NOON, instance="a" * 16
    )


@pytest.fixture
def device_id(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session).id


def test_the_will_of_an_older_connection_does_not_put_a_device_offline(database: Database, device_id: str) -> None:
    with database.transaction() as session:
        assert apply_presence(session, device_id, _presence("online", 1), NOON)
        assert apply_presence(session, device_id, _presence("online", 2), NOON)
        assert not apply_presence(session, device_id, _presence("offline", 1), NOON)
        assert apply_presence(session, device_id, _presence("offline", 2), NOON)
    with database.session() as session:
        assert session.get_one(Device, device_id).presence == "offline"


def test_the_same_presence_twice_is_news_once(database: Database, device_id: str) -> None:
    with database.transaction() as session:
        assert apply_presence(session, device_id, _presence("online", 1), NOON)
        assert not apply_presence(session, device_id, _presence("online", 1), NOON)


def test_going_offline_does_not_count_as_being_seen(database: Database, device_id: str) -> None:
    later = NOON + timedelta(minutes=1)
    with database.transaction() as session:
        apply_presence(session, device_id, _presence("online", 1), NOON)
        apply_presence(session, device_id, _presence("offline", 1), later)
    with database.session() as session:
        assert session.get_one(Device, device_id).last_seen_at == NOON


def test_an_older_report_that_arrives_late_is_not_kept(database: Database, device_id: str) -> None:
    with database.transaction() as session:
        assert apply_reported(session, device_id, make_report(connection=2, sequence=0, generation=7), NOON)
        assert not apply_reported(session, device_id, make_report(connection=1, sequence=9, generation=6), NOON)
        assert not apply_reported(session, device_id, make_report(connection=2, sequence=0, generation=8), NOON)
    with database.session() as session:
        assert session.get_one(Device, device_id).reported_generation == 7


def test_what_a_device_says_of_an_unknown_id_changes_nothing(database: Database) -> None:
    with database.transaction() as session:
        assert not apply_presence(session, "d-aaaaaaaaaaaaaaaa", _presence("online", 1), NOON)
