"""What truth came back, by model, version and device group, a minute at a time: for the metrics that labels make.

The counts of a minute are kept packed, since a stretch of hours has many of them and most of each is zeros.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_contract.performance import CustomMetric, PerformanceCounts
from shoal_hub.alerts.minutes import MinuteTallies, Place
from shoal_hub.devices.tables import Device
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.performance.measures import Calibrated, Estimate, calibrated, estimate
from shoal_hub.performance.reading import TOLD, Forms, read_calibration, told_of
from shoal_hub.performance.tally import Tally, Told, VersionForm
from shoal_numerics import pack_counts

_FORMS: Final = 64
"""Versions whose form is remembered."""
_CALIBRATED_FOR: Final = timedelta(minutes=10)
"""What an estimate rests on is read again after so long."""
_READ_AT_ONCE: Final = 500

Minutes = tuple[Told, ...]
"""What a place's windows come to, one of each minute."""


@dataclass
class TruthTallies:
    """Remembers what truth the windows of past minutes tell, and how sure answers were.

    Attributes:
        grouped: What groups of windows have come to in this look, by what was asked.
    """

    grouped: dict[Any, list[tuple[str, tuple[tuple[str, str], ...], Tally]]] = field(default_factory=dict)
    _forms: dict[tuple[str, int], VersionForm | None] = field(default_factory=dict)
    _calibrated: dict[tuple[str, int], tuple[datetime, Calibrated]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with nothing read."""
        self._truths = MinuteTallies(lambda session, start, end: self._read(session, start, end, _HAS_TRUTH))
        self._answers = MinuteTallies(lambda session, start, end: self._read(session, start, end, None))

    def begin_look(self) -> None:
        """Have the last minutes read again, once for all rules, and some more of the past ones."""
        self.grouped.clear()
        self._truths.begin_look()
        self._answers.begin_look()

    def truths(self, session: Session, since: datetime, until: datetime) -> Mapping[Place, Minutes]:
        """Return what the windows with truth of each place tell."""
        return self._truths.over(session, since, until)

    def answers(self, session: Session, since: datetime, until: datetime) -> Mapping[Place, Minutes]:
        """Return what all windows of each place tell."""
        return self._answers.over(session, since, until)

    def add(self, session: Session, tally: Tally, place: Place, minutes: Minutes) -> None:
        """Add what a place's windows tell."""
        form = self._form(session, place.model, place.version)
        for told in minutes:
            if form is not None:
                tally.add(told, form)

    def estimated(self, session: Session, model: str, tally: Tally, now: datetime) -> Estimate | None:
        """Return the accuracy that answers are taken to have, without labels."""
        return estimate(
            tally.whole(),
            lambda version: self._form(session, model, version),
            lambda version: self._rests_on(session, model, version, now),
        )

    def _rests_on(self, session: Session, model: str, version: int, now: datetime) -> Calibrated:
        known = self._calibrated.get((model, version))
        if known is not None and abs(now - known[0]) < _CALIBRATED_FOR:
            return known[1]
        form = self._form(session, model, version)
        if form is None:
            return Calibrated(None, "nothing")
        found = calibrated(form, read_calibration(session, model, version, form, now))
        self._calibrated[model, version] = (now, found)
        while len(self._calibrated) > _FORMS:
            del self._calibrated[next(iter(self._calibrated))]
        return found

    def _form(self, session: Session, model: str, version: int) -> VersionForm | None:
        if (model, version) not in self._forms:
            self._forms[model, version] = Forms(session, model).of(version)
            while len(self._forms) > _FORMS:
                del self._forms[next(iter(self._forms))]
        return self._forms.get((model, version))

    def _read(
        self, session: Session, start: datetime, end: datetime, condition: ColumnElement[bool] | None
    ) -> dict[Place, Minutes]:
        tallies: dict[Place, Tally] = {}
        for row in _rows(session, start, end, condition):
            place = Place(row.model, row.version, row.group)
            self.add(session, tallies.setdefault(place, Tally()), place, (told_of(row),))
        return {place: (_packed(place.version, tally),) for place, tally in tallies.items() if tally.windows}


_HAS_TRUTH: Final[ColumnElement[bool]] = col(WindowRow.performance).is_not(None)


def _rows(session: Session, start: datetime, end: datetime, condition: ColumnElement[bool] | None) -> Iterator[Any]:
    wanted: Any = (
        select_columns(col(WindowRow.model), *(col(getattr(WindowRow, name)) for name in TOLD), col(Device.group))
        .join(Device, col(Device.id) == col(WindowRow.device_id))
        .where(col(WindowRow.received_at) >= start, col(WindowRow.received_at) < end)
    )
    if condition is not None:
        wanted = wanted.where(condition)
    return iter(session.connection().execute(wanted.execution_options(yield_per=_READ_AT_ONCE)))


def _packed(version: int, tally: Tally) -> Told:
    """Return what a minute's windows of one version come to, as if one window had told it."""
    [one] = tally.versions.values()
    counts = None if one.labels is None else base64.b64encode(pack_counts(one.labels.vector)).decode()
    metrics = tuple(CustomMetric(name=name, sums=sums) for name, sums in tally.metrics.items())
    told = PerformanceCounts.model_construct(
        counts=counts, regression=tally.regression, not_finite=tally.not_finite, metrics=metrics
    )
    return Told(
        version=version,
        requests=tally.requests,
        errors=tally.errors,
        samples=tally.samples,
        latency=tally.latency.tolist(),
        confidence=one.confidence.tolist(),
        labelled=tally.labelled,
        correct=tally.correct,
        performance=told,
    )
