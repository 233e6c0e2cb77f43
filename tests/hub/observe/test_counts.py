"""What processes count is what was committed, read and dropped: each once."""

import threading
from datetime import timedelta

import pytest
from tests.hub.monitoring.test_drift import baseline, like_training, sketch, take
from tests.simulators.rows import add_device

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.database import Database, once_committed
from shoal_hub.events.record import record_event
from shoal_hub.ingest.reading import Reader
from shoal_hub.meters import METERS, note_connection
from shoal_hub.mqtt import Message

__all__ = ["baseline"]


def value(name: str, **labels: str) -> float:
    return METERS.get_sample_value(name, labels) or 0.0


def message(topic: str, payload: bytes = b"rubbish") -> Message:
    return Message(topic, payload, is_retained=False, acknowledge=lambda: None)


def test_an_event_is_counted_once_it_is_committed_and_never_if_it_is_not(sqlite_database: Database) -> None:
    before = value("shoal_events_total", kind="tested", severity="warning")
    failed = value("shoal_database_transaction_failures_total", process="hub")
    with sqlite_database.transaction() as session:
        record_event(session, "tested", "x", severity="warning")
        assert value("shoal_events_total", kind="tested", severity="warning") == before
    with pytest.raises(RuntimeError):
        _spoil(sqlite_database)
    assert value("shoal_events_total", kind="tested", severity="warning") == before + 1
    assert value("shoal_database_transaction_failures_total", process="hub") == failed + 1


def _spoil(database: Database) -> None:
    with database.transaction() as session:
        record_event(session, "tested", "x", severity="warning")
        once_committed(session, pytest.fail)
        raise RuntimeError


def test_messages_are_counted_by_channel_and_those_that_are_not_believed_by_the_reason(
    sqlite_database: Database,
) -> None:
    stranger = new_device_id()
    told: list[str] = []
    reader = Reader(sqlite_database, 100, lambda source, _: told.append(source), threading.Event())
    names = ("unknown_device", "topic", "rate")
    before = {name: value("shoal_ingest_messages_dropped_total", reason=name) for name in names}
    events = value("shoal_ingest_messages_total", channel="event")
    size = value("shoal_ingest_bytes_total", channel="event")
    reader.read([message(topics.up(stranger, "event"), b"x" * 100), message(f"shoal/1/device/{stranger}/up/made-up")])
    after = {name: value("shoal_ingest_messages_dropped_total", reason=name) for name in names}
    assert {name: after[name] - before[name] for name in names} == {"unknown_device": 1, "topic": 1, "rate": 0}
    assert value("shoal_ingest_messages_total", channel="event") == events + 1
    assert value("shoal_ingest_bytes_total", channel="event") == size + 100


def test_windows_are_counted_as_they_are_taken_or_set_aside(hub: HubContext, baseline: Baseline) -> None:
    with hub.database.transaction() as session:
        device = add_device(session).id
    taken = value("shoal_windows_taken_total")
    late = value("shoal_windows_quarantined_total", reason="late")
    window = sketch(baseline, like_training(1))
    take(hub, device, window)
    old = {"started_at": window.started_at - timedelta(days=90), "ended_at": window.ended_at - timedelta(days=90)}
    take(hub, device, window.model_copy(update=old))
    assert value("shoal_windows_taken_total") == taken + 1
    assert value("shoal_windows_quarantined_total", reason="late") == late + 1


def test_connections_that_come_and_go_have_no_series() -> None:
    note_connection("hub-sweep", is_up=True)
    note_connection(new_device_id(), is_up=True)
    note_connection("hub-api", is_up=True)
    note_connection("hub-api", is_up=False)
    told = {sample.labels["connection"]: sample.value for family in METERS.collect()
            if family.name == "shoal_broker_connection_up" for sample in family.samples}  # fmt: skip
    assert {"hub-sweep"} & told.keys() == set()
    assert not any(name.startswith("d-") for name in told)
    assert told["hub-api"] == 0
