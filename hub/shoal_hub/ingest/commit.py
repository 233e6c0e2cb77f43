"""Commits batches of what devices sent: one transaction a batch, each outbox message once, and what to acknowledge."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import Session

from shoal_contract.ack import Ack
from shoal_contract.errors import MessageError
from shoal_contract.ledger import LedgerTotals
from shoal_contract.telemetry import Event, Heartbeat, ShadowWindow, TelemetryMessage, Window
from shoal_hub.database import Database
from shoal_hub.devices.certificates import retire_older
from shoal_hub.devices.presence import note_return
from shoal_hub.events.record import record_event
from shoal_hub.gates.vitals import take_beats
from shoal_hub.ingest.devices import Move, Sender, load_senders, move_outboxes, note_seen, take_states
from shoal_hub.ingest.handlers import Body, Handlers
from shoal_hub.ingest.receive import Received, Unreadable, UpMessage
from shoal_hub.ingest.record import Lookup, record_device_events
from shoal_hub.ingest.refusal import RaceError, explain, kind_of, may_pass, size_of, tell_refused
from shoal_hub.ingest.sequence import Plan, plan
from shoal_hub.traffic.take import take_totals

_HOLD: Final = timedelta(seconds=2)
"""How long a message that is ahead of a gap waits for the one before; then the device sends both again."""
_MAX_HELD: Final = 64


_Waiting = list[tuple[Received, datetime]]
"""What came of one device ahead of a gap, and when; losing it costs a resend, never a message."""


class _Taken(NamedTuple):
    """What a batch takes of one device's outbox."""

    sender: Sender
    planned: Plan
    candidates: Sequence[tuple[Received, datetime]]

    @property
    def messages(self) -> list[tuple[str, UpMessage]]:
        """What is to be committed, in its order, by the device's id."""
        return [(self.sender.id, self.candidates[index][0].message) for index in self.planned.commit]

    @property
    def waiting(self) -> _Waiting:
        """What is ahead of a gap."""
        return [self.candidates[index] for index in self.planned.wait][:_MAX_HELD]

    @property
    def move(self) -> Move:
        """The outbox's position before and after."""
        return Move(self.sender.id, self.sender.position, self.planned.position)


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
        """Commit a batch; what cannot be committed is told and passed over, and does not stop the rest.

        Raises:
            SQLAlchemyError, RaceError: The same batch can be tried again; what of it was committed counts once.
        """
        try:
            return self._commit_together(batch, now)
        except Exception as error:
            if may_pass(error) or not batch:
                raise
            if len(batch) == 1:
                return self._pass_over(batch[0], error, now)
        middle = len(batch) // 2
        first, second = self.commit(batch[:middle], now), self.commit(batch[middle:], now)
        return Committed(first.acks | second.acks, first.refused | second.refused)

    def _commit_together(self, batch: Sequence[Received], now: datetime) -> Committed:
        by_device: defaultdict[str, list[Received]] = defaultdict(list)
        for one in batch:
            by_device[one.device_id].append(one)
        try:
            return self._commit_unless_stale(by_device, now)
        except Exception as error:
            if may_pass(error):
                raise
            # Rare: a handler refuses a message. Once more, with a savepoint around each, to find out which.
            return self._commit(by_device, now, is_careful=True)

    def _commit_unless_stale(self, by_device: Mapping[str, list[Received]], now: datetime) -> Committed:
        """Commit all, once more where another process has changed or deleted a row in between: no message's fault."""
        try:
            return self._commit(by_device, now, is_careful=False)
        except StaleDataError:
            return self._commit(by_device, now, is_careful=False)

    def _pass_over(self, one: Received, error: Exception, now: datetime) -> Committed:
        """Tell of a message that fails outside of its handler, as if it had come unreadable if it has a place."""
        if one.outbox is not None and not isinstance(one.message, Unreadable):
            place = Unreadable(one.outbox, explain(error), kind_of(one.message), size_of(one.message))
            return self.commit([replace(one, message=place)], now)
        with self._database.transaction() as session:
            tell_refused(session, one.device_id, one.message, error, now)
        return Committed({}, frozenset())

    def _commit(self, by_device: Mapping[str, list[Received]], now: datetime, *, is_careful: bool) -> Committed:
        """Commit all in one transaction, kind by kind: a statement for each message would be most of the work."""
        handle = self._handle_each if is_careful else self._handle
        with self._database.transaction() as session:
            senders = load_senders(session, by_device)
            known = {device_id: by_device[device_id] for device_id in senders}
            take_states(session, senders, known, now)
            taken = [one for sender in senders.values() if (one := self._take_outbox(sender, known[sender.id], now))]
            messages = [message for one in taken for message in one.messages]
            handle(session, messages, Lookup(session, [one for _, one in messages if isinstance(one, Event)]), now)
            for one in taken:
                _note_lost(session, one)
            moves = [one.move for one in taken if one.move.before != one.move.after]
            if not move_outboxes(session, moves, now):
                raise RaceError(
                    f"committing messages of {len(moves)} devices: somebody else has committed of one of them",
                    "nothing to do: the batch is tried again",
                )
            _note_keys(session, senders, known, now)
            sent = _beats_of(known)
            beats = self._fresh_beats(senders, sent)
            note_return(session, {one: at for one, (at, _) in beats.items() if at > senders[one].presence_connection})
            take_beats(session, sent, now)
            take_totals(session, _totals_of(sent), now)
            note_seen(session, senders, [one.device_id for one in moves], beats, now)
        self._beats |= beats
        self._remember({one.sender.id: one.waiting for one in taken}, now)
        return Committed({one.sender.id: _ack_of(one) for one in taken}, frozenset(by_device) - frozenset(senders))

    def _fresh_beats(
        self, senders: Mapping[str, Sender], sent: Mapping[str, list[Heartbeat]]
    ) -> dict[str, tuple[int, int]]:
        """Return the latest heartbeat of each device that has a new one: a repeated one keeps no device alive."""
        fresh: dict[str, tuple[int, int]] = {}
        for device_id, beats in sent.items():
            latest = max((beat.connection, beat.sequence) for beat in beats)
            if latest > self._beats.get(device_id, (senders[device_id].presence_connection, -1)):
                fresh[device_id] = latest
        return fresh

    def _take_outbox(self, sender: Sender, received: Iterable[Received], now: datetime) -> _Taken | None:
        new = [(one, now) for one in received if one.outbox is not None]
        if not new:
            return None
        candidates = [*((one, at) for one, at in self._waiting.get(sender.id, ()) if at > now - _HOLD), *new]
        planned = plan(sender.position, [one.outbox for one, _ in candidates if one.outbox is not None])
        return _Taken(sender, planned, candidates) if planned.position.stream else None

    def _handle(
        self, session: Session, messages: Sequence[tuple[str, UpMessage]], lookup: Lookup, now: datetime
    ) -> None:
        events: list[tuple[str, Event]] = []
        told: list[tuple[str, Body]] = []
        for device_id, message in messages:
            match message:
                case Event():
                    if lookup.is_new(message):
                        events.append((device_id, message))
                        told.append((device_id, message.body))
                case TelemetryMessage(body=Window() | ShadowWindow() as window):
                    told.append((device_id, window))
                case Unreadable():
                    # Not raised: one device that sends such things must not have all others' handled one by one.
                    tell_refused(session, device_id, message, MessageError(message.reason), now)
        record_device_events(session, events, lookup, now)
        self._handlers.handle(session, told, now)

    def _handle_each(
        self, session: Session, messages: Sequence[tuple[str, UpMessage]], lookup: Lookup, now: datetime
    ) -> None:
        """Handle one after the other; what a handler refuses is undone and told, and does not stop what comes next."""
        for device_id, message in messages:
            try:
                with session.begin_nested():
                    self._handle(session, [(device_id, message)], lookup, now)
            except Exception as error:
                if may_pass(error):
                    raise
                tell_refused(session, device_id, message, error, now)

    def _remember(self, waiting: dict[str, _Waiting], now: datetime) -> None:
        self._waiting.update(waiting)
        for device_id, held in list(self._waiting.items()):
            self._waiting[device_id] = [(one, at) for one, at in held if at > now - _HOLD]
            if not self._waiting[device_id]:
                del self._waiting[device_id]


def _ack_of(taken: _Taken) -> Ack:
    position = taken.planned.position
    return Ack(stream=position.stream, sequence=position.sequence, reads_compact=True)


def _note_lost(session: Session, taken: _Taken) -> None:
    if taken.planned.lost:
        device_id = taken.sender.id
        text = f"device {device_id} has dropped {taken.planned.lost} messages that the hub never got"
        record_event(session, "messages_lost", text, device_id=device_id, severity="warning")


def _note_keys(
    session: Session, senders: Mapping[str, Sender], received: Mapping[str, list[Received]], now: datetime
) -> None:
    """Retire what a device had before, once it has signed with its renewed key."""
    for device_id, sender in senders.items():
        for key_id in {one.key_id for one in received[device_id]} - {"", sender.public_key_sha256}:
            retire_older(session, device_id, key_id, now)


def _beats_of(received: Mapping[str, list[Received]]) -> dict[str, list[Heartbeat]]:
    """Return the heartbeats of each device that has sent any."""
    beats: defaultdict[str, list[Heartbeat]] = defaultdict(list)
    for device_id, several in received.items():
        for one in several:
            if isinstance(one.message, TelemetryMessage) and isinstance(one.message.body, Heartbeat):
                beats[device_id].append(one.message.body)
    return beats


def _totals_of(beats: Mapping[str, list[Heartbeat]]) -> dict[str, list[LedgerTotals]]:
    """Return what devices tell of their byte ledgers."""
    told = {one: [beat.ledger for beat in sent if beat.ledger is not None] for one, sent in beats.items()}
    return {device_id: totals for device_id, totals in told.items() if totals}
