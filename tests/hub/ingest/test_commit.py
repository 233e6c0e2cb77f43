"""Batches in the database, on both engines: each message once, one bad one stops nothing, acknowledgements hold."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select
from tests.hub.statements import statements
from tests.simulators.rows import NOON, add_device, make_report

from shoal_contract.ids import new_device_id
from shoal_contract.reported import Presence, Problem
from shoal_contract.telemetry import (
    DeploymentEvent,
    Event,
    Heartbeat,
    LoadShed,
    MissingArtifact,
    OutboxPosition,
    PassedStep,
    SketchCounts,
    TelemetryMessage,
    Window,
)
from shoal_hub.database import Database
from shoal_hub.devices.tables import Device
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import EventRow
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.devices import Sender, load_senders
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received, Unreadable
from shoal_hub.ingest.refusal import RaceError

STREAM = "a" * 16


class Seen:
    """A handler that writes a row for what it is given, and can be made to refuse."""

    def __init__(self, database: Database) -> None:
        self.refuses: set[float] = set()
        self._database = database

    def __call__(self, session: Session, device_id: str, body: DeploymentEvent, now: Any) -> None:  # noqa: ARG002
        if body.duration_s in self.refuses:
            session.get_one(Device, device_id).name = "half done"
            session.flush()
            raise InvalidInputError("no", "never")
        record_event(session, "seen", f"{body.duration_s:.0f}")

    @property
    def steps(self) -> list[int]:
        return [int(row.message) for row in rows(self._database, "seen")]


@pytest.fixture
def seen(database: Database) -> Seen:
    return Seen(database)


@pytest.fixture
def committer(database: Database, seen: Seen) -> Committer:
    handlers = Handlers()
    handlers.on(DeploymentEvent, seen)
    return Committer(database, handlers)


@pytest.fixture
def device_id(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session).id


def event(device_id: str, sequence: int, stream: str = STREAM, oldest: int = 1) -> Received:
    body = DeploymentEvent(model="digits", version=1, deployment="dp-1", step="fetch", duration_s=sequence)
    place = OutboxPosition(stream=stream, sequence=sequence, oldest=oldest)
    return Received(device_id, Event(event_id=f"{sequence:032x}", outbox=place, at=NOON, body=body))


def rows(database: Database, kind: str) -> list[EventRow]:
    with database.session() as session:
        return list(session.exec(select(EventRow).where(EventRow.kind == kind).order_by(col(EventRow.id))).all())


def test_a_message_is_handled_once_however_often_it_comes(committer: Committer, device_id: str, seen: Seen) -> None:
    for _ in range(3):
        committed = committer.commit([event(device_id, 1), event(device_id, 1), event(device_id, 2)], NOON)
        assert committed.acks[device_id].sequence == 2
    assert seen.steps == [1, 2]


def test_a_message_ahead_of_a_gap_is_committed_when_the_gap_closes(
    committer: Committer, device_id: str, seen: Seen
) -> None:
    assert committer.commit([event(device_id, 1), event(device_id, 3)], NOON).acks[device_id].sequence == 1
    assert committer.commit([event(device_id, 2)], NOON).acks[device_id].sequence == 3
    assert seen.steps == [1, 2, 3]


def test_a_message_that_waited_too_long_has_to_come_again(committer: Committer, device_id: str, seen: Seen) -> None:
    committer.commit([event(device_id, 1), event(device_id, 3)], NOON)
    later = NOON + timedelta(seconds=10)
    assert committer.commit([event(device_id, 2)], later).acks[device_id].sequence == 2
    assert committer.commit([event(device_id, 3)], later).acks[device_id].sequence == 3
    assert seen.steps == [1, 2, 3]


def test_a_restarted_ingest_goes_on_from_what_is_in_the_database(
    committer: Committer, database: Database, device_id: str, seen: Seen
) -> None:
    committer.commit([event(device_id, 1)], NOON)
    again = Committer(database, committer._handlers)
    assert again.commit([event(device_id, 1), event(device_id, 2)], NOON).acks[device_id].sequence == 2
    assert seen.steps == [1, 2]


def window(device_id: str, sequence: int, stream: str) -> Received:
    counts = SketchCounts(rows=1, bins=1, data="AAA=")
    body = Window(
        outbox=OutboxPosition(stream=stream, sequence=sequence, oldest=1),
        model="digits",
        version=1,
        manifest_sha256="0" * 64,
        started_at=NOON,
        ended_at=NOON + timedelta(minutes=1),
        requests=1,
        samples=1,
        errors=0,
        features=counts,
        missing=counts,
        predictions=(1,),
        confidence=(1,),
        latency=(1,),
    )
    return Received(device_id, TelemetryMessage(body=body))


def test_a_stream_that_a_later_one_replaced_is_not_committed_again_by_a_restarted_ingest(
    database: Database, device_id: str
) -> None:
    """Whoever holds the broker has kept signed messages of before the device lost its outbox."""
    counted: list[str] = []
    handlers = Handlers()
    handlers.on(Window, lambda _session, _device_id, body, _now: counted.append(body.outbox.stream))
    first, second, third = "1" * 16, "2" * 16, "3" * 16
    kept = [window(device_id, 1, first), event(device_id, 2, first), window(device_id, 1, second)]
    Committer(database, handlers).commit(kept[:2], NOON)
    # Two new streams in one batch: the one in the middle is over as well.
    Committer(database, handlers).commit([kept[2], window(device_id, 1, third)], NOON)
    before = len(rows(database, "deployment"))
    for replayed in kept:
        ack = Committer(database, handlers).commit([replayed], NOON).acks[device_id]
        assert (ack.stream, ack.sequence) == (third, 1)
    assert (counted, len(rows(database, "deployment"))) == ([first, second, third], before)
    assert Committer(database, handlers).commit([window(device_id, 2, third)], NOON).acks[device_id].sequence == 2
    assert counted == [first, second, third, third]


def test_a_whole_outbox_that_was_held_back_is_not_taken_for_the_one_that_came_after_it(
    committer: Committer, database: Database, device_id: str
) -> None:
    held_back, true = "1" * 16, "2" * 16
    committer.commit([event(device_id, 1, true)], NOON)
    acks = committer.commit([event(device_id, number, held_back) for number in (1, 2)], NOON).acks
    assert (acks[device_id].stream, acks[device_id].sequence) == (true, 1), "and the device is told which one counts"
    assert committer.commit([event(device_id, 2, true)], NOON).acks[device_id].sequence == 2
    assert len(rows(database, "deployment")) == 2


def test_what_a_handler_refuses_is_undone_told_and_passed_over(
    committer: Committer, database: Database, device_id: str, seen: Seen
) -> None:
    seen.refuses = {2}
    committed = committer.commit([event(device_id, number) for number in (1, 2, 3)], NOON)
    assert (committed.acks[device_id].sequence, seen.steps) == (3, [1, 3])
    with database.session() as session:
        assert session.get_one(Device, device_id).name == device_id
    assert "no; never" in rows(database, "message_refused")[0].message


def test_a_message_that_cannot_be_read_keeps_its_place(
    committer: Committer, database: Database, device_id: str
) -> None:
    place = OutboxPosition(stream=STREAM, sequence=1, oldest=1)
    unreadable = Received(device_id, Unreadable(place, "unknown kind"))
    assert committer.commit([unreadable, event(device_id, 2)], NOON).acks[device_id].sequence == 2
    assert "unknown kind" in rows(database, "message_refused")[0].message


def test_lost_messages_are_told(committer: Committer, database: Database, device_id: str) -> None:
    committer.commit([event(device_id, 1)], NOON)
    assert committer.commit([event(device_id, 5, oldest=5)], NOON).acks[device_id].sequence == 5
    assert "3 messages" in rows(database, "messages_lost")[0].message


def test_a_batch_that_fails_leaves_nothing_and_can_be_tried_again(
    committer: Committer, database: Database, device_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as session:
        other = add_device(session).id

    def race(*_: object) -> None:
        raise RaceError("somebody was faster", "try again")

    with monkeypatch.context() as patch:
        patch.setattr("shoal_hub.ingest.commit.note_seen", race)
        with pytest.raises(RaceError):
            committer.commit([event(device_id, 1), event(other, 1)], NOON)
    assert rows(database, "deployment") == []
    assert committer.commit([event(device_id, 1)], NOON).acks[device_id].sequence == 1
    assert len(rows(database, "deployment")) == 1


def test_a_position_that_somebody_else_has_moved_stops_the_batch(
    committer: Committer, database: Database, device_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as session:
        other = add_device(session).id

    def load(session: Session, device_ids: Any) -> dict[str, Sender]:
        found = load_senders(session, device_ids)
        return found | {device_id: found[device_id]._replace(outbox_sequence=7)}

    monkeypatch.setattr("shoal_hub.ingest.commit.load_senders", load)
    with pytest.raises(RaceError):
        committer.commit([event(other, 1), event(device_id, 8)], NOON)
    assert rows(database, "deployment") == []


def test_unknown_and_revoked_devices_are_named_and_change_nothing(committer: Committer, database: Database) -> None:
    stranger = new_device_id()
    with database.transaction() as session:
        revoked = add_device(session, revoked_at=NOON).id
    committed = committer.commit([event(stranger, 1), event(revoked, 1)], NOON)
    assert (committed.acks, committed.refused) == ({}, {stranger, revoked})
    assert rows(database, "deployment") == []


def test_presence_report_and_heartbeat_reach_the_row(committer: Committer, database: Database, device_id: str) -> None:
    beat = Heartbeat(at=NOON, uptime_s=1, memory_bytes=1, load=0, outbox_depth=0, connection=1, sequence=0)
    online = Presence(state="online", connection=1, sequence=0, since=NOON, instance="a" * 16)
    batch = [online, make_report(generation=5), TelemetryMessage(body=beat)]
    later = NOON + timedelta(seconds=5)
    assert committer.commit([Received(device_id, one) for one in batch], later).acks == {}
    with database.session() as session:
        row = session.get_one(Device, device_id)
    assert (row.presence, row.reported_generation, row.last_seen_at) == ("online", 5, later)


def test_of_the_reports_in_a_batch_the_latest_is_kept_in_whatever_order_they_came(
    committer: Committer, database: Database, device_id: str
) -> None:
    places = [(1, 4), (2, 0), (1, 5)]
    reports = [make_report(connection=connection, sequence=sequence) for connection, sequence in places]
    committer.commit([Received(device_id, report) for report in reports], NOON)
    with database.session() as session:
        row = session.get_one(Device, device_id)
    assert (row.reported_connection, row.reported_sequence) == (2, 0)


def test_a_repeated_heartbeat_or_event_keeps_no_device_alive(
    committer: Committer, database: Database, device_id: str
) -> None:
    """A broker that passes on what it has kept cannot hide that a device is gone."""
    beat = Heartbeat(at=NOON, uptime_s=1, memory_bytes=1, load=0, outbox_depth=0, connection=1, sequence=3)
    batch = [Received(device_id, TelemetryMessage(body=beat)), event(device_id, 1)]
    committer.commit(batch, NOON)
    committer.commit(batch, NOON + timedelta(hours=1))
    with database.session() as session:
        assert session.get_one(Device, device_id).last_seen_at == NOON
    newer = TelemetryMessage(body=beat.model_copy(update={"sequence": 4}))
    committer.commit([Received(device_id, newer)], NOON + timedelta(hours=2))
    with database.session() as session:
        assert session.get_one(Device, device_id).last_seen_at == NOON + timedelta(hours=2)


def test_an_event_is_recorded_for_people_with_what_it_is_about(
    committer: Committer, database: Database, device_id: str
) -> None:
    body = MissingArtifact(sha256="1" * 64, detail="silent for 10 s")
    place = OutboxPosition(stream=STREAM, sequence=1, oldest=1)
    committer.commit([Received(device_id, Event(event_id="f" * 32, outbox=place, at=NOON, body=body))], NOON)
    row = rows(database, "missing_artifact")[0]
    assert (row.subject, row.severity, "silent for 10 s" in row.message) == (f"device/{device_id}", "warning", True)


def test_one_kind_of_body_has_one_handler() -> None:
    handlers = Handlers()
    handlers.on(MissingArtifact, lambda *_: None)
    with pytest.raises(ValueError, match="MissingArtifact"):
        handlers.on(MissingArtifact, lambda *_: None)


def test_a_device_that_went_back_by_itself_is_told_as_a_warning_with_the_problem(
    committer: Committer, database: Database, device_id: str
) -> None:
    problem = Problem(code="probe", message="probe 'camera' did not pass", remedy="see what it checks")
    body = DeploymentEvent(model="digits", version=2, deployment="dp-1", step="roll_back", problem=problem)
    place = OutboxPosition(stream=STREAM, sequence=1, oldest=1)
    committer.commit([Received(device_id, Event(event_id="e" * 32, outbox=place, at=NOON, body=body))], NOON)
    row = rows(database, "deployment")[0]
    assert (row.severity, "roll_back: probe 'camera' did not pass" in row.message) == ("warning", True)


def test_steps_that_came_as_one_event_are_all_shown_in_it(
    committer: Committer, database: Database, device_id: str
) -> None:
    passed = (PassedStep(step="fetch", duration_s=0.5), PassedStep(step="verify", duration_s=2.0))
    body = DeploymentEvent(model="digits", version=2, deployment="dp-1", step="stage", duration_s=3.0, passed=passed)
    place = OutboxPosition(stream=STREAM, sequence=1, oldest=1)
    committer.commit([Received(device_id, Event(event_id="e" * 32, outbox=place, at=NOON, body=body))], NOON)
    (row,) = rows(database, "deployment")
    assert row.message == f"{device_id}: digits version 2: fetch, verify, stage"
    assert DeploymentEvent.model_validate(row.body).passed == passed


def test_a_device_that_is_too_hot_is_told_as_a_warning_with_the_models_that_it_refuses(
    committer: Committer, database: Database, device_id: str
) -> None:
    body = LoadShed(reason="hot", level=2, temperature_c=85.5, models=("birds", "faces"))
    place = OutboxPosition(stream=STREAM, sequence=1, oldest=1)
    committer.commit([Received(device_id, Event(event_id="e" * 32, outbox=place, at=NOON, body=body))], NOON)
    (row,) = rows(database, "load_shed")
    assert (row.severity, row.subject) == ("warning", f"device/{device_id}")
    assert row.message == f"{device_id} is too hot and refuses requests to birds, faces"
    assert LoadShed.model_validate(row.body) == body


def carrying(device_id: str, generation: int, *sequences: int) -> list[Received]:
    """What is read of a report that carries events."""
    report = make_report(generation=generation, sequence=generation)
    return [Received(device_id, report), *(event(device_id, sequence) for sequence in sequences)]


def test_a_report_and_what_it_carries_are_kept_together_and_acknowledged(
    committer: Committer, database: Database, device_id: str, seen: Seen
) -> None:
    committed = committer.commit(carrying(device_id, 7, 1, 2), NOON)
    assert (committed.acks[device_id].sequence, seen.steps) == (2, [1, 2])
    with database.session() as session:
        device = session.get_one(Device, device_id)
    assert device.reported_generation == 7
    assert "carried" not in (device.reported or {})


def test_a_retained_report_that_is_delivered_again_brings_nothing_twice(
    committer: Committer, database: Database, device_id: str, seen: Seen
) -> None:
    committer.commit(carrying(device_id, 7, 1, 2), NOON)
    committer.commit([event(device_id, 3)], NOON)
    again = Committer(database, committer._handlers).commit(carrying(device_id, 7, 1, 2), NOON)
    assert (again.acks[device_id].sequence, seen.steps) == (3, [1, 2, 3])


def test_events_in_a_report_that_is_older_than_the_one_kept_still_count(
    committer: Committer, database: Database, device_id: str, seen: Seen
) -> None:
    committer.commit(carrying(device_id, 7), NOON)
    assert committer.commit(carrying(device_id, 6, 1), NOON).acks[device_id].sequence == 1
    assert seen.steps == [1]
    with database.session() as session:
        assert session.get_one(Device, device_id).reported_generation == 7


def test_heartbeats_that_tell_nothing_else_take_three_statements_however_many_they_are(
    committer: Committer, database: Database
) -> None:
    with database.transaction() as session:
        ids = [add_device(session, presence="online", presence_connection=1).id for _ in range(20)]
    beat = Heartbeat(at=NOON, uptime_s=1, memory_bytes=1, load=0, outbox_depth=0, connection=1, sequence=0)
    for sequence in (1, 2):
        message = TelemetryMessage(body=beat.model_copy(update={"sequence": sequence}))
        beats = [Received(one, message) for one in ids]
        with statements(database) as seen:
            committer.commit(beats, NOON + timedelta(seconds=sequence))
        assert seen == [
            "SELECT",
            "SELECT",
            "UPDATE",
        ]  # the devices, whether somebody watches them, when they were heard
    with database.session() as session:
        assert {row.last_seen_at for row in session.exec(select(Device))} == {NOON + timedelta(seconds=2)}
