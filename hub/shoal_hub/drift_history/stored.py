"""Reads the history back: periods, scores of devices' days, and the exact counts of any stretch of time."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_hub.database import in_parts
from shoal_hub.drift_history.counts import Totals, sum_of, totals_of_row, totals_of_window
from shoal_hub.drift_history.periods import FLEET, LENGTH, Whose, start_of
from shoal_hub.drift_history.scores import Scores, joined, read_block
from shoal_hub.drift_history.tables import DeviceDays, DriftPeriod, Span
from shoal_hub.drift_history.watched import Watched
from shoal_hub.monitoring.tables import TO_ROLL_UP, WindowRow
from shoal_hub.registry.tables import Version as VersionRow

_WINDOW: Final = (
    "id",
    "device_id",
    "ended_at",
    "requests",
    "samples",
    "unsketched",
    "errors",
    "labelled",
    "correct",
    "features",
    "missing",
    "predictions",
    "confidence",
    "latency",
    "embedding",
)


LONGEST_WINDOW: Final = timedelta(days=1)
"""No device is set to have longer ones."""
Stretch = tuple[Span | Literal["window"], datetime, datetime]
"""What a part of a time is made of, and from when until when it is."""


class Version:
    """The stored history of one version.

    Args:
        session: An open session.
        model: Its name.
        version: Its number.
        watched: What its windows are held against.
    """

    def __init__(self, session: Session, model: str, version: int, watched: Watched) -> None:
        self._session = session
        self.model = model
        self.number = version
        self.watched = watched

    def periods(
        self, span: Span, whose: Whose | Sequence[str], since: datetime, until: datetime
    ) -> Iterator[tuple[str, datetime, Totals]]:
        """Yield name, start and totals of periods that began from `since` to before `until`, in any order.

        Args:
            span: Hours or days.
            whose: A scope's, or those of devices by their ids.
            since: When a period may begin at the earliest.
            until: Before when.
        """
        scope = whose.scope if isinstance(whose, Whose) else "device"
        for part in [[whose.name]] if isinstance(whose, Whose) else in_parts(whose):
            wanted = select(DriftPeriod).where(
                DriftPeriod.model == self.model,
                DriftPeriod.version == self.number,
                DriftPeriod.span == span,
                DriftPeriod.scope == scope,
                col(DriftPeriod.name).in_(part),
                col(DriftPeriod.started_at) >= since,
                col(DriftPeriod.started_at) < until,
            )
            for row in self._session.exec(wanted):
                yield row.name, row.started_at, totals_of_row(row, self.watched)

    def has(self, span: Span, whose: Whose, since: datetime, until: datetime) -> bool:
        """Whether there is any such period."""
        wanted: Any = select_columns(col(DriftPeriod.id)).where(
            col(DriftPeriod.model) == self.model,
            col(DriftPeriod.version) == self.number,
            col(DriftPeriod.span) == span,
            col(DriftPeriod.scope) == whose.scope,
            col(DriftPeriod.name) == whose.name,
            col(DriftPeriod.started_at) >= since,
            col(DriftPeriod.started_at) < until,
        )
        return self._session.connection().execute(wanted.limit(1)).first() is not None

    def blocks(self, since: datetime, until: datetime, columns: Sequence[str], block: str | None = None) -> Any:  # noqa: ANN401 - rows
        """Return some columns of the scores of days that began from `since` to before `until`, day by day."""
        chosen: list[Any] = [col(getattr(DeviceDays, name)) for name in ("started_at", "features", *columns)]
        wanted: Any = select_columns(*chosen).where(
            col(DeviceDays.model) == self.model,
            col(DeviceDays.version) == self.number,
            col(DeviceDays.started_at) >= since,
            col(DeviceDays.started_at) < until,
        )
        if block is not None:
            wanted = wanted.where(col(DeviceDays.block) == block)
        return self._session.connection().execute(wanted.order_by(col(DeviceDays.started_at)))

    def scores_on(self, day: datetime) -> Scores | None:
        """Return the scores of all devices on a day; None where there are none."""
        columns = ("devices", "samples", "drifted", "ks", "psi")
        parts = [read_block(row) for row in self.blocks(day, day + LENGTH["day"], columns)]
        return joined(parts) if parts else None

    def labels(self) -> list[str]:
        """Return the names of the version's labels."""
        wanted = select(VersionRow.labels).where(VersionRow.model == self.model, VersionRow.number == self.number)
        return list(self._session.exec(wanted).one())

    def last_day(self, until: datetime) -> datetime | None:
        """Return the last day with scores that began before a time."""
        wanted: Any = select_columns(col(DeviceDays.started_at)).where(
            col(DeviceDays.model) == self.model,
            col(DeviceDays.version) == self.number,
            col(DeviceDays.started_at) < until,
        )
        last = wanted.order_by(col(DeviceDays.started_at).desc()).limit(1)
        found: datetime | None = self._session.connection().execute(last).scalars().first()
        return found

    def windows(
        self, devices: Sequence[str], since: datetime, until: datetime, *, are_to_come: bool = False, most: int = 0
    ) -> list[tuple[str, datetime, Totals]]:
        """Return device, end and totals of windows that ended from `since` to before `until`, the latest first.

        Args:
            devices: Whose.
            since: The earliest end.
            until: Before when.
            are_to_come: Whether those alone that the history does not hold yet are wanted.
            most: Of all; 0: any number.
        """
        found: list[tuple[str, datetime, Totals]] = []
        chosen: list[Any] = [col(getattr(WindowRow, name)) for name in _WINDOW]
        conditions: list[Any] = [
            col(WindowRow.model) == self.model,
            col(WindowRow.version) == self.number,
            col(WindowRow.ended_at) >= since,
            col(WindowRow.ended_at) < until,
        ]
        if are_to_come:
            conditions.append(TO_ROLL_UP)  # has an index of its own
        else:  # has one by when windows began
            conditions += [col(WindowRow.started_at) >= since - LONGEST_WINDOW, col(WindowRow.started_at) < until]
        for part in in_parts(devices):
            wanted: Any = select_columns(*chosen).where(col(WindowRow.device_id).in_(part), *conditions)
            wanted = wanted.order_by(col(WindowRow.ended_at).desc())
            rows = self._session.connection().execute(wanted.limit(most) if most else wanted)
            found += [(row.device_id, row.ended_at, totals_of_window(row, self.watched)) for row in rows]
        return found

    def between(self, devices: Sequence[str] | None, since: datetime, until: datetime) -> Totals | None:
        """Return what the windows that ended from `since` to before `until` come to.

        Whole days are taken from days, whole hours from hours, and the rest, as what the history does not hold yet,
        from windows themselves. Of the fleet (`devices` is None) hours are the finest.
        """
        whose: Whose | Sequence[str] = FLEET if devices is None else devices
        found: list[Totals] = []
        for span, begin, end in stretches(since, until):
            if span == "window":
                if devices is not None:
                    found += [one for _, _, one in self.windows(devices, begin, end)]
                continue
            found += [one for _, _, one in self.periods(span, whose, begin, end)]
            if devices is not None:
                found += [one for _, _, one in self.windows(devices, begin, end, are_to_come=True)]
        return sum_of(found)


def stretches(since: datetime, until: datetime) -> Iterator[Stretch]:
    """Yield the parts of a time, the coarsest that fit: of whole days, whole hours, and what is left at its ends."""
    yield from _split(since, until, ("day", "hour"))


def _split(since: datetime, until: datetime, spans: Sequence[Span]) -> Iterator[Stretch]:
    if since >= until:
        return
    if not spans:
        yield "window", since, until
        return
    span, *finer = spans
    begin, end = _next_start(span, since), start_of(span, until)
    if begin >= end:
        yield from _split(since, until, finer)
        return
    yield from _split(since, begin, finer)
    yield span, begin, end
    yield from _split(end, until, finer)


def _next_start(span: Span, at: datetime) -> datetime:
    start = start_of(span, at)
    return start if start == at else start + LENGTH[span]


def days_back(day: datetime, chunk: int, most: int) -> Iterable[tuple[datetime, datetime]]:
    """Yield stretches of so many days that end with a day, going back from it."""
    until = day + LENGTH["day"]
    for _ in range(0, most, chunk):
        since = until - timedelta(days=chunk)
        yield since, until
        until = since
