"""Empties the outbox: at least once, with the same key and bytes each time, until a receiver has said that it has it.

An attempt is written down before it is made. One that was begun and of whose end nothing is known, as its process was
killed, counts as failed once it can not be at work any more, and is made again. Only the elected controller begins any:
each of its transactions is fenced, and two that begin the same attempt are told apart by its number.
"""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from pydantic import ValidationError
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.tables import AlertChannel, AlertDelivery, DeliveryState
from shoal_hub.database import Database, announce, utc_now
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.redaction import redact

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 5.0
"""Between the first attempt and the second."""
LONGEST_RETRY_S: Final = 600.0
"""Between two attempts at most."""
MOST_AT_ONCE: Final = 8
MOST_OF_A_CHANNEL: Final = 2
"""Attempts at once: a receiver that hangs leaves room for the others."""
_LOOKED_AT: Final = 200
_ATTEMPTS_OF_TIME: Final = 3.0
"""Times an attempt's bound after which one that was begun is over for sure: to find a host takes time as well."""
_MAX_PROBLEM: Final = 300
_STOP_S: Final = 2.0

Send = Callable[[AlertChannel, str, AlertMessage], str]
"""Hands a message with its key to a channel; returns what a person should know although it was sent.

Raises:
    HubError: It was not, or nobody knows.
"""


@dataclass(frozen=True)
class Retry:
    """How often, and for how long, a delivery is tried; seconds.

    Attributes:
        first_s: Between the first attempt and the second, doubled with each further one.
        longest_s: Between two at most.
        give_up_after_s: What was waited between attempts altogether when it is given up: time in which the hub was off
            does not count.
        attempt_s: What one attempt takes at most.
    """

    first_s: float
    longest_s: float
    give_up_after_s: float
    attempt_s: float

    def delay_s(self, attempts: int, luck: float) -> float:
        """Return how long to wait after so many attempts.

        Args:
            attempts: How many were made, at least one.
            luck: 0 to 1, drawn anew each time: receivers that were all away are not all asked at once.
        """
        doubled = self.first_s * 2.0 ** min(attempts - 1, 30)
        return min(doubled, self.longest_s) * (0.5 + luck / 2)


class _Attempt(NamedTuple):
    """One try of a delivery, in the form in which a thread takes it along."""

    delivery_id: str
    number: int
    key: str
    channel: AlertChannel
    message: AlertMessage


class Deliverer:
    """Starts what is due, each in a thread of its own, and writes down how it has ended. One chore of the controller.

    Args:
        database: The controller's.
        send: Hands a message over.
        retry: Bounds.
        clock: The time, when an attempt has ended.
        luck: Draws from 0 to 1.
    """

    def __init__(
        self,
        database: Database,
        send: Send,
        retry: Retry,
        clock: Callable[[], datetime] = utc_now,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._send = send
        self._retry = retry
        self._clock = clock
        self._luck = luck
        self._at_work: dict[str, tuple[str, str, threading.Thread]] = {}
        """By the delivery's id: channel, what it is about, and the thread."""
        self._lock = threading.Lock()

    def step(self, now: datetime) -> int:
        """Begin what is due; return how many attempts."""
        begun = 0
        for row in self._due(now):
            if not self._has_room(row):
                continue
            attempt = self._claim(row, now)
            if attempt is not None:
                self._start(attempt, row.about)
                begun += 1
        return begun

    def settle(self, timeout_s: float = _STOP_S) -> bool:
        """Wait for what is at work; return whether all of it has ended. What has not is sent again by the next one."""
        with self._lock:
            threads = [thread for _, _, thread in self._at_work.values()]
        for thread in threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in threads)

    def _due(self, now: datetime) -> list[AlertDelivery]:
        """Return what may be begun: of what goes in order, the first alone."""
        with self._database.session() as session:
            is_queued = col(AlertDelivery.state) == "queued"
            channels = session.exec(select(AlertDelivery.channel).where(is_queued).distinct()).all()
            first: dict[tuple[str, str], AlertDelivery] = {}
            for channel in sorted(channels):  # one by one: what waits for a receiver that is away hides no other's
                wanted = select(AlertDelivery).where(is_queued, AlertDelivery.channel == channel)
                oldest = wanted.order_by(col(AlertDelivery.created_at), col(AlertDelivery.id)).limit(_LOOKED_AT)
                for row in session.exec(oldest):
                    first.setdefault((channel, row.about), row)
        return [row for row in first.values() if self._is_due(row, now)]

    def _is_due(self, row: AlertDelivery, now: datetime) -> bool:
        """Whether a delivery is to be tried; a clock that was set back makes nothing wait for longer than it would."""
        if row.begun_at is not None:  # by a process that is gone, or by this one, which knows
            return abs(now - row.begun_at) >= timedelta(seconds=_ATTEMPTS_OF_TIME * self._retry.attempt_s)
        return row.next_at <= now or row.next_at > now + timedelta(seconds=self._retry.longest_s)

    def _has_room(self, row: AlertDelivery) -> bool:
        with self._lock:
            if row.id in self._at_work or len(self._at_work) >= MOST_AT_ONCE:
                return False
            same = [about for channel, about, _ in self._at_work.values() if channel == row.channel]
            return len(same) < MOST_OF_A_CHANNEL and row.about not in same

    def _claim(self, row: AlertDelivery, now: datetime) -> _Attempt | None:
        """Write down that an attempt begins; None where another process was first, or there is nowhere to send it."""
        with self._database.transaction() as session:
            guard = update(AlertDelivery).where(
                col(AlertDelivery.id) == row.id,
                col(AlertDelivery.state) == "queued",
                col(AlertDelivery.attempts) == row.attempts,
            )
            values = {"attempts": row.attempts + 1, "begun_at": now}
            if session.connection().execute(guard.values(**values)).rowcount != 1:
                return None
            channel = session.get(AlertChannel, row.channel)
            if channel is None or not channel.is_enabled:
                _end(session, row, "failed", "the channel was removed or switched off", now)
                return None
            try:
                message = AlertMessage.model_validate(row.payload)
            except ValidationError as error:  # of another version of the hub: it would hold up all that come after
                problem = f"what was to be said cannot be read: {error.errors(include_url=False, include_input=False)}"
                _end(session, row, "failed", problem, now)
                return None
            return _Attempt(row.id, row.attempts + 1, row.key, channel, message)

    def _start(self, attempt: _Attempt, about: str) -> None:
        # A thread that dies with the process: whatever hangs must not keep the controller from its end.
        thread = threading.Thread(target=self._run, args=[attempt], name="alert-delivery", daemon=True)
        with self._lock:
            self._at_work[attempt.delivery_id] = (attempt.channel.name, about, thread)
        thread.start()

    def _run(self, attempt: _Attempt) -> None:
        try:
            try:
                note = self._send(attempt.channel, attempt.key, attempt.message)
            except (HubError, OSError, ValueError) as error:
                self._finish(attempt, _problem(error), is_sent=False)
            else:
                self._finish(attempt, note, is_sent=True)
        except (SQLAlchemyError, HubError) as error:
            # Another controller is in charge, or the database is away: it stays begun, and is sent again.
            log.warning("how alert delivery %s has ended is not kept: %s", attempt.delivery_id, type(error).__name__)
        finally:
            with self._lock:
                self._at_work.pop(attempt.delivery_id, None)

    def _finish(self, attempt: _Attempt, problem: str, *, is_sent: bool) -> None:
        now = self._clock()
        with self._database.transaction() as session:
            row = session.get(AlertDelivery, attempt.delivery_id, with_for_update=True)
            if row is None or row.state != "queued" or (row.attempts != attempt.number and not is_sent):
                return  # given up, deleted, or begun again meanwhile: only that it has arrived is news then
            if is_sent:
                _end(session, row, "sent", problem, now)
                return
            delay_s = self._retry.delay_s(attempt.number, self._luck())
            if row.waited_s + delay_s > self._retry.give_up_after_s:
                _end(session, row, "failed", f"given up after {attempt.number} attempts: {problem}", now)
                return
            row.begun_at, row.problem, row.waited_s = None, problem, row.waited_s + delay_s
            row.next_at = now + timedelta(seconds=delay_s)
            session.add(row)
            announce(session, "alerts")
        log.info("alert delivery %s to %s failed: %s; trying again", attempt.delivery_id, attempt.channel.name, problem)


def _problem(error: Exception) -> str:
    text = error.message if isinstance(error, HubError) else type(error).__name__
    return redact(text)[:_MAX_PROBLEM]


def _end(session: Session, row: AlertDelivery, state: DeliveryState, problem: str, now: datetime) -> None:
    kept = session.get_one(AlertDelivery, row.id)
    kept.state, kept.problem, kept.begun_at = state, problem[:_MAX_PROBLEM], None
    kept.sent_at = now if state == "sent" else None
    session.add(kept)
    if state == "failed":
        text = f"what {kept.channel} was to be told of {kept.about} was not delivered: {kept.problem}"
        record_event(
            session, "alert_not_delivered", text, subject=f"alert-channel/{kept.channel}", severity="error", at=now
        )
    announce(session, "alerts")
