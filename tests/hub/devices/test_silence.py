"""Presence where no will came: the hub concludes it from missed heartbeats, and takes it back."""

from datetime import timedelta

import pytest
from tests.simulators.rows import NOON, add_device

from shoal_contract.desired import DesiredConfig
from shoal_contract.telemetry import Heartbeat, TelemetryMessage
from shoal_hub.database import Database
from shoal_hub.devices.intents import set_intent
from shoal_hub.devices.silence import SHORTEST, SILENT, note_silence
from shoal_hub.devices.tables import Device
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received

LONG_AGO = NOON - timedelta(days=1)
LATE = NOON + 3 * SHORTEST


@pytest.fixture
def device_id(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session, presence="online", last_seen_at=NOON).id


def presence(database: Database, device_id: str) -> tuple[str, str]:
    with database.session() as session:
        device = session.get_one(Device, device_id)
        return device.presence, device.presence_reason


def test_a_device_that_misses_its_heartbeats_is_shown_offline_until_it_is_heard_again(
    database: Database, device_id: str
) -> None:
    note_silence(database, NOON + SHORTEST, LONG_AGO)
    note_silence(database, NOON + timedelta(seconds=239), LONG_AGO)
    assert presence(database, device_id) == ("online", "")
    note_silence(database, NOON + timedelta(seconds=241), LONG_AGO)
    assert presence(database, device_id) == ("offline", SILENT)

    body = Heartbeat(at=LATE, uptime_s=1, memory_bytes=1, load=0, outbox_depth=0, connection=1, sequence=0)
    Committer(database, Handlers()).commit([Received(device_id, TelemetryMessage(body=body))], LATE)

    assert presence(database, device_id) == ("online", "")


def test_a_device_that_said_farewell_stays_offline_when_a_late_heartbeat_comes(
    database: Database, device_id: str
) -> None:
    with database.transaction() as session:
        session.get_one(Device, device_id).sqlmodel_update({"presence": "offline", "presence_reason": "stopped"})
    body = Heartbeat(at=NOON, uptime_s=1, memory_bytes=1, load=0, outbox_depth=0, connection=1, sequence=0)
    Committer(database, Handlers()).commit([Received(device_id, TelemetryMessage(body=body))], NOON)
    assert presence(database, device_id) == ("offline", "stopped")


def test_a_hub_that_has_just_started_concludes_nothing(database: Database, device_id: str) -> None:
    note_silence(database, LATE, LATE - timedelta(seconds=30))
    assert presence(database, device_id) == ("online", "")


def test_a_device_with_slow_heartbeats_is_given_their_time(database: Database, device_id: str) -> None:
    with database.transaction() as session:
        body = DesiredConfig(heartbeat_s=3600)
        set_intent(session, device_id, "config", kind="default", owner="operator", body=body, now=NOON)
    note_silence(database, NOON + timedelta(hours=3), LONG_AGO)
    assert presence(database, device_id) == ("online", "")
    note_silence(database, NOON + timedelta(hours=5), LONG_AGO)
    assert presence(database, device_id) == ("offline", SILENT)
