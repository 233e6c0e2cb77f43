"""Commits batches of what devices sent: one transaction a batch, each outbox message once, and what to acknowledge."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from sqlalchemy import bindparam
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select, update

from shoal_contract.ack import Ack
from shoal_contract.errors import ContractError, MessageError
from shoal_contract.ledger import LedgerTotals
from shoal_contract.reported import Presence, ReportedState
from shoal_contract.telemetry import Event, Heartbeat, ShadowWindow, TelemetryMessage, Window
from shoal_hub.database import Database, announce
from shoal_hub.devices.certificates import retire_older
from shoal_hub.devices.clones import note_instance
from shoal_hub.devices.presence import apply_presence, apply_reported
from shoal_hub.devices.silence import SILENT
from shoal_hub.devices.tables import Device
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.gates.vitals import take_beats
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.receive import Received, Unreadable, UpMessage
from shoal_hub.ingest.record import Lookup, record_device_event
from shoal_hub.ingest.sequence import Plan, Position, plan
from shoal_hub.traffic.take import take_totals

log = logging.getLogger(__name__)

_HOLD: Final = timedelta(seconds=2)
"""How long a message that is ahead of a gap waits for the one before; then the device sends both again."""
_MAX_HELD: Final = 64
_QUERY_ROWS: Final = 500
_HANDLER_ERRORS: Final = (HubError, ContractError, ValueError, LookupError, IntegrityError, DataError)


class RaceError(HubError):
    """Another process has committed messages of the same device; the batch is tried again."""

    code = "race"


_Waiting = list[tuple[Received, datetime]]
"""What came of one device ahead of a gap, and when; losing it costs a resend, never a message."""


@dataclass(frozen=True)
class _Work:
    """One device's part of a batch."""

    session: Session
    device: Device
    lookup: Lookup
    now: datetime


@dataclass(frozen=True)
class Committed:
    """What a batch came to.

    Attributes:
        acks: What to tell devices, by id.
        refused: Devices that are unknown or revoked, whose messages were dropped.
    """

    acks: dict[str, Ack]
    refused: frozenset[str]


class Committer:
    """Commits batches. One of these writes at a time in a process."""

    def __init__(self, database: Database, handlers: Handlers) -> None:
        self._database = database
        self._handlers = handlers
        self._waiting: defaultdict[str, _Waiting] = defaultdict(list)
        self._beats: dict[str, tuple[int, int]] = {}

    def commit(self, batch: Sequence[Received], now: datetime) -> Committed:
        """Commit a batch.

        Raises:
            SQLAlchemyError, RaceError: Nothing was committed; the same batch can be tried again.
        """
        by_device: defaultdict[str, list[Received]] = defaultdict(list)
        for one in batch:
            by_device[one.device_id].append(one)
        try:
            return self._commit(by_device, now, is_careful=False)
        except RaceError:
            raise
        except _HANDLER_ERRORS:
            # Rare: somebody refuses a message. Once more, with a savepoint around each, to find out which.
            return self._commit(by_device, now, is_careful=True)

    def _commit(self, by_device: Mapping[str, list[Received]], now: datetime, *, is_careful: bool) -> Committed:
        acks: dict[str, Ack] = {}
        waiting: dict[str, _Waiting] = {}
        handle = self._handle_carefully if is_careful else self._handle
        with self._database.transaction() as session:
            devices = _load_devices(session, by_device)
            lookup = Lookup(session, self._events_of(by_device))
            for device_id, device in devices.items():
                work = _Work(session, device, lookup, now)
                _take_state(work, by_device[device_id])
                taken = self._take_outbox(work, by_device[device_id], handle)
                if taken is not None:
                    acks[device_id], waiting[device_id] = taken
                _note_keys(work, by_device[device_id])
            moved = {one for one, ack in acks.items() if _is_further(ack, devices[one])}
            beats = self._fresh_beats(devices, by_device)
            sent = _beats_of(devices, by_device)
            take_beats(session, sent, now)
            take_totals(session, _totals_of(sent), now)
            _note_seen(session, sorted(moved | beats.keys()), now)
        self._beats |= beats
        self._remember(waiting, now)
        return Committed(acks, frozenset(by_device) - frozenset(devices))

    def _events_of(self, by_device: Mapping[str, list[Received]]) -> list[Event]:
        """Return all events that this batch may come to commit."""
        waiting = (one for device_id in by_device for one, _ in self._waiting[device_id])
        new = (one for received in by_device.values() for one in received)
        return [one.message for one in chain(waiting, new) if isinstance(one.message, Event)]

    def _fresh_beats(
        self, devices: Mapping[str, Device], by_device: Mapping[str, list[Received]]
    ) -> dict[str, tuple[int, int]]:
        """Return the latest heartbeat of each device that has a new one: a repeated one keeps no device alive."""
        fresh: dict[str, tuple[int, int]] = {}
        for device_id, device in devices.items():
            places = [place for one in by_device[device_id] if (place := _beat_of(one)) is not None]
            latest = max(places, default=(-1, -1))
            if latest > self._beats.get(device_id, (device.presence_connection, -1)):
                fresh[device_id] = latest
        return fresh

    def _take_outbox(
        self, work: _Work, received: Iterable[Received], handle: Callable[[_Work, UpMessage], None]
    ) -> tuple[Ack, _Waiting] | None:
        new = [(one, work.now) for one in received if one.outbox is not None]
        if not new:
            return None
        device = work.device
        candidates = [*((one, at) for one, at in self._waiting[device.id] if at > work.now - _HOLD), *new]
        before = Position(device.outbox_stream, device.outbox_sequence)
        planned = plan(before, [one.outbox for one, _ in candidates if one.outbox is not None])
        if not planned.position.stream:
            return None
        for index in planned.commit:
            handle(work, candidates[index][0].message)
        _note_lost(work.session, device.id, planned)
        _move(work.session, device.id, before, planned.position)
        waiting = [candidates[index] for index in planned.wait][:_MAX_HELD]
        ack = Ack(stream=planned.position.stream, sequence=planned.position.sequence)
        return ack, waiting

    def _handle(self, work: _Work, message: UpMessage) -> None:
        device_id = work.device.id
        match message:
            case Event():
                if work.lookup.is_new(message):
                    record_device_event(work.session, device_id, message, work.lookup)
                    self._handlers.handle(work.session, device_id, message.body, work.now)
            case TelemetryMessage(body=Window() | ShadowWindow() as window):
                self._handlers.handle(work.session, device_id, window, work.now)
            case Unreadable():
                raise MessageError(message.reason)

    def _handle_carefully(self, work: _Work, message: UpMessage) -> None:
        """Handle one message; what its handler refuses is undone and told, and does not stop what comes after it."""
        try:
            with work.session.begin_nested():
                self._handle(work, message)
        except _HANDLER_ERRORS as error:
            log.warning("a message of device %s was refused: %s", work.device.id, error)
            text = f"a message of device {work.device.id} was refused: {error}"
            record_event(work.session, "message_refused", text[:1000], device_id=work.device.id, severity="warning")

    def _remember(self, waiting: dict[str, _Waiting], now: datetime) -> None:
        self._waiting.update(waiting)
        for device_id, held in list(self._waiting.items()):
            self._waiting[device_id] = [(one, at) for one, at in held if at > now - _HOLD]
            if not self._waiting[device_id]:
                del self._waiting[device_id]


_UNREAD: Final = [defer(getattr(Device, name)) for name in ("reported", "hardware")]
"""What nobody reads of a device here, and takes most of the time to load: JSON."""


def _load_devices(session: Session, device_ids: Iterable[str]) -> dict[str, Device]:
    """Return the devices that are enrolled and not revoked."""
    found: dict[str, Device] = {}
    for part in _parts(sorted(device_ids)):
        wanted = select(Device).where(col(Device.id).in_(part), col(Device.revoked_at).is_(None))
        found |= {device.id: device for device in session.exec(wanted.options(*_UNREAD)).all()}
    return found


def _move(session: Session, device_id: str, before: Position, after: Position) -> None:
    if before == after:
        return
    values = {
        "of_device": device_id,
        "before_stream": before.stream,
        "before_sequence": before.sequence,
        "after_stream": after.stream,
        "after_sequence": after.sequence,
    }
    if session.connection().execute(_MOVE, values).rowcount != 1:
        raise RaceError(
            f"committing messages of device {device_id}: somebody else has committed beyond {before}",
            "nothing to do: the batch is tried again",
        )


_MOVE: Final = (  # built once: building it takes several times as long as executing it
    update(Device)
    .where(
        col(Device.id) == bindparam("of_device"),
        col(Device.outbox_stream) == bindparam("before_stream"),
        col(Device.outbox_sequence) == bindparam("before_sequence"),
    )
    .values(outbox_stream=bindparam("after_stream"), outbox_sequence=bindparam("after_sequence"))
    .execution_options(synchronize_session=False)
)


def _note_lost(session: Session, device_id: str, planned: Plan) -> None:
    if planned.lost:
        text = f"device {device_id} has dropped {planned.lost} messages that the hub never got"
        record_event(session, "messages_lost", text, device_id=device_id, severity="warning")


def _note_seen(session: Session, device_ids: Sequence[str], now: datetime) -> None:
    for part in _parts(device_ids):
        heard = update(Device).where(col(Device.id).in_(part))
        session.connection().execute(heard.values(last_seen_at=now))
        back = heard.where(col(Device.presence) == "offline", col(Device.presence_reason) == SILENT)
        values = {"presence": "online", "presence_since": now, "presence_reason": ""}
        if session.connection().execute(back.values(**values)).rowcount:
            announce(session, "devices")


def _take_state(work: _Work, received: Iterable[Received]) -> None:
    """Keep presence, and the latest reported state: each one is whole, so those before it in the batch say no more."""
    session, device = work.session, work.device
    reports = [one.message for one in received if isinstance(one.message, ReportedState)]
    if reports:
        latest = max(reports, key=lambda report: (report.connection, report.sequence))
        apply_reported(session, device.id, latest, work.now)
    for one in received:
        if isinstance(one.message, Presence):
            is_news = apply_presence(session, device.id, one.message, work.now)
            if is_news and one.message.state == "online":
                note_instance(session, device, one.message, work.now)


def _note_keys(work: _Work, received: Iterable[Received]) -> None:
    """Retire what a device had before, once it has signed with its renewed key."""
    for key_id in {one.key_id for one in received} - {"", work.device.public_key_sha256}:
        retire_older(work.session, work.device.id, key_id, work.now)


def _is_further(ack: Ack, device: Device) -> bool:
    return (ack.stream, ack.sequence) != (device.outbox_stream, device.outbox_sequence)


def _beat_of(received: Received) -> tuple[int, int] | None:
    message = received.message
    if isinstance(message, TelemetryMessage) and isinstance(message.body, Heartbeat):
        return message.body.connection, message.body.sequence
    return None


def _beats_of(devices: Iterable[str], by_device: Mapping[str, list[Received]]) -> dict[str, list[Heartbeat]]:
    """Return the heartbeats of each device that has sent any."""
    beats: defaultdict[str, list[Heartbeat]] = defaultdict(list)
    for device_id in devices:
        for one in by_device[device_id]:
            if isinstance(one.message, TelemetryMessage) and isinstance(one.message.body, Heartbeat):
                beats[device_id].append(one.message.body)
    return beats


def _totals_of(beats: Mapping[str, list[Heartbeat]]) -> dict[str, list[LedgerTotals]]:
    """Return what devices tell of their byte ledgers."""
    told = {one: [beat.ledger for beat in sent if beat.ledger is not None] for one, sent in beats.items()}
    return {device_id: totals for device_id, totals in told.items() if totals}


def _parts(device_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(device_ids), _QUERY_ROWS):
        yield device_ids[start : start + _QUERY_ROWS]
