"""Looks at every rule now and then, takes its alerts on, and has the outbox filled. One chore of the controller."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from shoal_hub.alerts.gather import Speaking, anything_waits, note_words, send_groups
from shoal_hub.alerts.machine import Standing, advance
from shoal_hub.alerts.readings import Reading, read
from shoal_hub.alerts.rules import AlertRule, rules_of
from shoal_hub.alerts.silences import active_silences
from shoal_hub.alerts.tables import AlertRow, AlertSeverity
from shoal_hub.alerts.tallies import WindowTallies
from shoal_hub.alerts.telling import Timing
from shoal_hub.database import Database, announce
from shoal_hub.errors import HubError
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import Severity
from shoal_hub.ids import new_id

log = logging.getLogger(__name__)

_REST_RATIO: Final = 20.0
"""Times the CPU of a look that passes until the next one."""
_LONGEST_REST_S: Final = 300.0
_GAPS: Final = 3.0
"""A look that is later than so many rests says nothing of the time before: nobody looked."""
_AS_EVENT: Final[dict[AlertSeverity, Severity]] = {"info": "info", "warning": "warning", "critical": "error"}
_GONE: Final = "what it was of is there no more"

Readings = dict[str, Reading]
"""By key."""


@dataclass(frozen=True)
class _Seen:
    """What a rule's condition has come to; None for one that could not be read, whose alerts stay as they are."""

    rule: AlertRule
    readings: Readings | None


class AlertEvaluator:
    """Keeps between two looks what windows have come to, and when it looked last, by a clock that only goes forward.

    Args:
        database: The controller's.
        timing: How notifications are gathered and repeated.
        every_s: Between two looks at least; a look that takes long is followed by a longer rest.
        clock: Seconds that only go forward.
        cpu_clock: Seconds of CPU that this thread has taken.
    """

    def __init__(
        self,
        database: Database,
        timing: Timing,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._database = database
        self._timing = timing
        self._every_s = every_s
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._tallies = WindowTallies()
        self._looked_s: float | None = None
        self._rest_s = every_s

    def step(self, now: datetime) -> int:
        """Look, if it is time to; return how many alerts have changed."""
        at_s = self._clock()
        if self._looked_s is not None and at_s - self._looked_s < self._rest_s:
            return 0
        elapsed_s = 0.0 if self._looked_s is None else min(at_s - self._looked_s, _GAPS * self._rest_s)
        self._looked_s = at_s
        began_s = self._cpu_clock()
        changed = self._look(now, elapsed_s)
        took_s = self._cpu_clock() - began_s
        self._rest_s = max(self._every_s, min(_REST_RATIO * took_s, _LONGEST_REST_S))
        return changed

    def _look(self, now: datetime, elapsed_s: float) -> int:
        with self._database.session() as session:
            rules = rules_of(session)
            is_quiet = not _open_alerts(session) and not anything_waits(session)
        self._tallies.begin_look()
        seen = {name: self._see(name, rule, now) for name, rule in rules.items() if rule.is_enabled}
        if is_quiet and not any(_breached(one) for one in seen.values()):
            return 0
        with self._database.transaction() as session:
            changed = _take_on(session, seen, elapsed_s, now)
            firing = [one for one in _open_alerts(session) if one.state == "firing"]
            ended = [one for one in changed if one.state == "resolved"]
            speaking = Speaking(rules, active_silences(session, now), self._timing)
            note_words(session, [*firing, *ended], speaking, now)
            send_groups(session, speaking, now)
            if changed:
                announce(session, "alerts")
        return len(changed)

    def _see(self, name: str, rule: AlertRule, now: datetime) -> _Seen:
        try:
            with self._database.session() as session:
                return _Seen(rule, {one.key: one for one in read(session, rule.when, self._tallies, now)})
        except (SQLAlchemyError, HubError, ValueError):
            log.exception("looking at the alert rule %s failed; its alerts stay as they are", name)
            return _Seen(rule, None)


def _breached(seen: _Seen) -> bool:
    return any(one.is_breached for one in (seen.readings or {}).values())


def _open_alerts(session: Session) -> Sequence[AlertRow]:
    return session.exec(select(AlertRow).where(col(AlertRow.state).in_(("pending", "firing")))).all()


def _take_on(session: Session, seen: Mapping[str, _Seen], elapsed_s: float, now: datetime) -> list[AlertRow]:
    """Bring every alert to where it stands now; return those that fire or have ended since."""
    changed: list[AlertRow] = []
    known: dict[str, dict[str, AlertRow]] = {}
    for row in _open_alerts(session):
        known.setdefault(row.rule, {})[row.key] = row
        if row.rule not in seen:
            changed += _end(session, row, "its rule was removed or switched off", now)
    for name, one in seen.items():
        if one.readings is None:
            continue
        alerts = known.get(name, {})
        breached = {key for key, reading in one.readings.items() if reading.is_breached}
        for key in sorted(alerts.keys() | breached):
            changed += _advance(session, name, one.rule, alerts.get(key), one.readings.get(key), elapsed_s, now)
    session.flush()
    return changed


def _advance(
    session: Session,
    name: str,
    rule: AlertRule,
    row: AlertRow | None,
    reading: Reading | None,
    elapsed_s: float,
    now: datetime,
) -> list[AlertRow]:
    """Take one alert on; return it if it fires or has ended now."""
    before = None if row is None else Standing(row.state, row.held_s, row.clear_s)
    is_breached = False if reading is None else reading.is_breached
    after = advance(before, rule.patience, elapsed_s, is_breached=is_breached)
    if after is None:
        if row is not None:
            session.delete(row)
        return []
    if row is None:
        if reading is None:
            raise ValueError(f"beginning an alert of {name}: nothing was read of it")
        row = AlertRow(
            id=new_id("al"),
            rule=name,
            key=reading.key,
            state=after.state,
            severity=rule.severity,
            labels={},
            message="",
            pending_at=now,
        )
    was = before.state if before else "pending"
    row.state, row.held_s, row.clear_s = after.state, after.held_s, after.clear_s
    if reading is not None and reading.is_breached:
        row.labels, row.severity = rule.labels_of(name, reading.labels), rule.severity
        row.message, row.value, row.threshold = reading.message, reading.value, reading.threshold
    session.add(row)
    if after.state == was:
        return []
    return _begin(session, row, now) if after.state == "firing" else _end(session, row, _why(reading), now)


def _why(reading: Reading | None) -> str:
    return _GONE if reading is None else reading.message


def _begin(session: Session, row: AlertRow, now: datetime) -> list[AlertRow]:
    row.fired_at = now
    told, subject = f"{row.rule}: {row.message}", f"alert/{row.id}"
    record_event(session, "alert_firing", told, subject=subject, severity=_AS_EVENT[row.severity], at=now)
    return [row]


def _end(session: Session, row: AlertRow, why: str, now: datetime) -> list[AlertRow]:
    """End an alert; one that has not fired leaves nothing behind."""
    if row.fired_at is None:
        session.delete(row)
        return []
    row.state, row.resolved_at, row.resolution = "resolved", now, why
    session.add(row)
    record_event(session, "alert_resolved", f"{row.rule}: {why}", subject=f"alert/{row.id}", at=now)
    return [row]
