"""One message that cannot be committed stops no other, on both engines; a database that is away loses none."""

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import Session, col, select
from tests.simulators.rows import NOON, add_device, make_report

from shoal_contract.reported import ReportedState
from shoal_contract.telemetry import DeploymentEvent, Event, OutboxPosition
from shoal_hub.database import Database
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.devices import take_states
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received, Unreadable
from shoal_hub.ingest.record import Lookup
from shoal_hub.ingest.refusal import may_pass

STREAM = "a" * 16
POISON = 13
HUBS = itertools.count()
Fault = Callable[[Session, str], None]


def fails_by(kind: type[DBAPIError]) -> Fault:
    def fail(_session: Session, _device_id: str) -> None:
        raise kind("INSERT", {}, Exception("value out of range"))

    return fail


def fails_in_the_database(session: Session, device_id: str) -> None:
    """Write a second row of one key."""
    session.connection().execute(text("INSERT INTO devices (id) VALUES (:id)"), {"id": device_id})


def has_an_error(session: Session, device_id: str) -> None:
    session.get_one(Device, device_id).name = "half done"
    session.flush()
    raise TypeError("an error in the hub")


class Hub:
    """Ingest with a handler that fails at one message, and what it has taken in."""

    def __init__(self, database: Database, fault: Fault, devices: int = 1) -> None:
        self.serial = next(HUBS)
        self.database = database
        self.fault = fault
        self.poison = {POISON}
        handlers = Handlers()
        handlers.on(DeploymentEvent, self._handle)
        self.committer = Committer(database, handlers)
        with database.transaction() as session:
            self.devices = [add_device(session).id for _ in range(devices)]
        self.device_id = self.devices[0]

    def _handle(self, session: Session, device_id: str, body: DeploymentEvent, _now: datetime) -> None:
        if body.version in self.poison:
            self.fault(session, device_id)

    def event(self, version: int, sequence: int, device_id: str = "") -> Received:
        device_id = device_id or self.device_id
        body = DeploymentEvent(model="digits", version=version, deployment="dp-1", step="fetch")
        place = OutboxPosition(stream=STREAM, sequence=sequence, oldest=1)
        event_id = f"{self.serial:08x}{self.devices.index(device_id):08x}{sequence:016x}"
        return Received(device_id, Event(event_id=event_id, outbox=place, at=NOON, body=body))

    def commit(self, *batch: Received) -> dict[str, int]:
        return {one: ack.sequence for one, ack in self.committer.commit(batch, NOON).acks.items()}

    @property
    def taken(self) -> list[tuple[str | None, int]]:
        rows = self._rows("deployment")
        return [(row.device_id, row.body["version"]) for row in rows]

    @property
    def refused(self) -> list[EventRow]:
        return list(self._rows("message_refused"))

    def _rows(self, kind: str) -> Sequence[EventRow]:
        with self.database.session() as session:
            return session.exec(select(EventRow).where(EventRow.kind == kind).order_by(col(EventRow.id))).all()


FAULTS = [fails_by(kind) for kind in (IntegrityError, DataError, ProgrammingError, InternalError)]


@pytest.mark.parametrize("fault", [*FAULTS, fails_in_the_database, has_an_error])
def test_a_message_at_which_a_handler_fails_is_told_and_passed_over(database: Database, fault: Fault) -> None:
    hub = Hub(database, fault)
    batch = [hub.event(1, 1), hub.event(POISON, 2), hub.event(3, 3)]
    assert hub.commit(*batch) == {hub.device_id: 3}
    assert [version for _, version in hub.taken] == [1, 3]
    (told,) = hub.refused
    size_bytes = len(batch[1].message.to_bytes())  # type: ignore[union-attr]
    assert told.device_id == hub.device_id
    assert (told.body["kind"], told.body["size_bytes"]) == ("deployment", size_bytes)
    assert f"deployment, {size_bytes} bytes" in told.message
    with database.session() as session:
        assert session.get_one(Device, hub.device_id).name == hub.device_id


def watch_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many messages each call handles one by one, while it goes on."""
    calls: list[int] = []
    handle_each = Committer._handle_each

    def noted(self: Committer, session: Session, messages: Sequence[Any], *rest: Any) -> None:
        calls.append(len(messages))
        handle_each(self, session, messages, *rest)

    monkeypatch.setattr(Committer, "_handle_each", noted)
    return calls


def test_one_that_came_unreadable_is_told_and_all_others_are_still_handled_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(database, has_an_error, devices=3)

    slow = watch_the_slow_way(monkeypatch)
    place = OutboxPosition(stream=STREAM, sequence=1, oldest=1)
    broken = Received(hub.devices[0], Unreadable(place, "it has no body"))
    assert hub.commit(broken, *(hub.event(1, 1, one) for one in hub.devices[1:])) == dict.fromkeys(hub.devices, 1)
    assert len(hub.taken) == 2
    (told,) = hub.refused
    assert (told.device_id, told.body["kind"], told.body["error"]) == (hub.device_id, "unreadable", "MessageError")
    assert "it has no body" in told.message
    assert slow == [], "no savepoint for each message"


def test_a_row_that_another_process_has_deleted_in_between_has_the_batch_tried_once_more_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([StaleDataError("1 row expected, 0 matched")])

    def is_stale_once(_session: Session, _device_id: str) -> None:
        for failure in failures:
            raise failure

    hub = Hub(database, is_stale_once)
    slow = watch_the_slow_way(monkeypatch)
    assert hub.commit(hub.event(POISON, 1), hub.event(2, 2)) == {hub.device_id: 2}
    assert ([version for _, version in hub.taken], hub.refused) == ([POISON, 2], [])
    assert slow == []


def fail_at(generation: int) -> Callable[..., None]:
    """Return a `take_states` that fails where a batch holds one reported state."""

    def take(session: Session, senders: Any, received: dict[str, list[Received]], now: datetime) -> None:
        messages = [one.message for several in received.values() for one in several]
        if any(isinstance(one, ReportedState) and one.generation == generation for one in messages):
            raise DataError("UPDATE devices", {}, Exception("a number that the column does not hold"))
        take_states(session, senders, received, now)

    return take


def test_a_reported_state_that_cannot_be_kept_is_found_among_many_and_all_others_are_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(database, has_an_error, devices=21)
    monkeypatch.setattr("shoal_hub.ingest.commit.take_states", fail_at(POISON))
    batch = [Received(one, make_report(generation=number)) for number, one in enumerate(hub.devices)]
    hub.commit(*batch, *(hub.event(1, 1, one) for one in hub.devices))
    with database.session() as session:
        kept = [session.get_one(Device, one).reported_generation for one in hub.devices]
    assert kept == [0 if number == POISON else number for number in range(21)]
    assert len(hub.taken) == 21, "what the same device has said besides is taken in"
    (told,) = hub.refused
    assert (told.device_id, told.body["kind"], told.body["error"]) == (
        hub.devices[POISON],
        "reported",
        "DataError",
    )


def test_a_message_of_the_outbox_that_fails_outside_of_its_handler_keeps_its_place(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(session: Session, events: Sequence[Event]) -> Lookup:
        if any(getattr(event.body, "version", 0) == POISON for event in events):
            raise TypeError("an error in the hub")
        return Lookup(session, events)

    hub = Hub(database, has_an_error)
    monkeypatch.setattr("shoal_hub.ingest.commit.Lookup", look_up)
    assert hub.commit(hub.event(1, 1), hub.event(POISON, 2), hub.event(3, 3)) == {hub.device_id: 3}
    assert [version for _, version in hub.taken] == [1, 3]
    (told,) = hub.refused
    assert told.body["kind"] == "deployment"
    assert "TypeError: an error in the hub" in told.message
    assert hub.commit(hub.event(4, 4)) == {hub.device_id: 4}, "and what comes later is not held up"


def loses_the_connection(session: Session, _device_id: str) -> None:
    if session.connection().dialect.name == "postgresql":
        session.connection().execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    raise OperationalError("COMMIT", {}, Exception("database or disk is full"))


def test_a_database_that_is_lost_amid_a_batch_refuses_nothing_and_the_batch_is_committed_once_it_is_back(
    database: Database,
) -> None:
    hub = Hub(database, loses_the_connection)
    batch = [hub.event(1, 1), hub.event(POISON, 2), hub.event(3, 3)]
    for _ in range(2):
        with pytest.raises(OperationalError):
            hub.commit(*batch)
    assert (hub.taken, hub.refused) == ([], [])
    hub.poison = set()
    assert hub.commit(*batch) == {hub.device_id: 3}
    assert [version for _, version in hub.taken] == [1, POISON, 3]


def test_a_database_that_is_lost_while_a_batch_is_taken_apart_takes_each_message_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(database, loses_the_connection, devices=4)
    monkeypatch.setattr("shoal_hub.ingest.commit.take_states", fail_at(POISON))
    batch = [hub.event(number, 1, one) for number, one in enumerate(hub.devices, start=1)]
    batch = [Received(hub.devices[0], make_report(generation=POISON)), *batch]
    hub.poison = {4}
    with pytest.raises(OperationalError):
        hub.commit(*batch)
    hub.poison = set()
    assert hub.commit(*batch) == dict.fromkeys(hub.devices, 1)
    assert sorted(version for _, version in hub.taken) == [1, 2, 3, 4]


def test_where_nothing_can_be_written_nothing_is_passed_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a replica that is not the primary any more: that is no operational error for PostgreSQL."""
    hub = Hub(database, has_an_error)

    def write(*_: object, **__: object) -> None:
        raise InternalError("INSERT", {}, Exception("cannot execute INSERT in a read-only transaction"))

    with monkeypatch.context() as patch:
        patch.setattr("shoal_hub.ingest.record.announce_events", write)
        patch.setattr("shoal_hub.ingest.refusal.record_event", write)
        with pytest.raises(InternalError):
            hub.commit(hub.event(1, 1), hub.event(2, 2))
    assert hub.commit(hub.event(1, 1), hub.event(2, 2)) == {hub.device_id: 2}
    assert [version for _, version in hub.taken] == [1, 2]


def test_an_error_that_follows_a_lost_connection_may_pass_too() -> None:
    lost = OperationalError("SELECT", {}, Exception("server closed the connection"))
    assert may_pass(lost)
    follows = InternalError("ROLLBACK", {}, Exception("current transaction is aborted"))
    assert not may_pass(follows)
    follows.__context__ = lost
    assert may_pass(follows)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations([(device, sequence) for device in range(3) for sequence in range(1, 5)]),
    poison=st.sets(st.integers(0, 11)),
    states=st.sets(st.integers(0, 12)),
)
def test_whatever_is_poison_the_rest_is_taken_once_in_each_devices_order(
    order: list[tuple[int, int]], poison: set[int], states: set[int], sqlite_database: Database
) -> None:
    hub = Hub(sqlite_database, has_an_error, devices=3)
    hub.poison = {1 + number for number in poison}
    before = len(hub.taken)
    batch = [hub.event(1 + 4 * device + sequence - 1, sequence, hub.devices[device]) for device, sequence in order]
    for place in sorted(states, reverse=True):
        batch.insert(place, Received(hub.devices[0], make_report(generation=POISON)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shoal_hub.ingest.commit.take_states", fail_at(POISON))
        assert hub.commit(*batch) == dict.fromkeys(hub.devices, 4)
    for number, device_id in enumerate(hub.devices):
        mine = [version for one, version in hub.taken[before:] if one == device_id]
        assert mine == [one for one in range(1 + 4 * number, 5 + 4 * number) if one not in hub.poison]


class _DriverError(Exception):
    """An error of PostgreSQL's driver."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("kind", "sqlstate", "passes"),
    [
        (ProgrammingError, "42703", True),  # a column that a migration has not made yet
        (ProgrammingError, "42501", True),  # a right that lacks
        (ProgrammingError, "26000", True),  # a pooler has lost what was prepared
        (InternalError, "XX000", True),
        (DataError, "22003", False),
        (IntegrityError, "23505", False),
        (ProgrammingError, "", False),
    ],
)
def test_what_the_database_lacks_for_now_is_no_message_s_fault(
    kind: type[DBAPIError], sqlstate: str, passes: bool
) -> None:
    assert may_pass(kind("UPDATE devices", {}, _DriverError(sqlstate))) is passes
