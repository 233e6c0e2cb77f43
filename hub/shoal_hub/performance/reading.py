"""Reads a model's windows in the order of what they are told apart by, so that one sum is held at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import ColumnElement
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func, select

from shoal_contract.manifest import Baseline
from shoal_hub.devices.tables import Device
from shoal_hub.errors import InvalidInputError
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.performance.tally import Tally, Told, VersionForm, VersionTally
from shoal_hub.registry.tables import Version

By = Literal["model", "version", "device", "group", "slice", "window"]
"""What rows tell apart; `group` is the device's home group, `window` equal stretches of time."""
MAX_WINDOWS: Final = 200_000
"""Of one question: about ten seconds of one core."""
MAX_CALIBRATING: Final = 2000
"""Windows with labels, the newest ones, that a version's calibration is made of."""
_READ_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Question:
    """Which windows are meant, and what is told apart.

    Attributes:
        model: Of which model.
        since: Windows that ended then or later, by the device's clock.
        until: Windows that ended before.
        by: What rows tell apart.
        version: Of this one alone.
        devices: Of these alone; None: of all.
        step: How long a stretch is, of `by` window.
        has_slices: Whether slices are asked for.
    """

    model: str
    since: datetime
    until: datetime
    by: By = "model"
    version: int | None = None
    devices: frozenset[str] | None = None
    step: timedelta = timedelta(hours=1)
    has_slices: bool = False


class Group(NamedTuple):
    """What one row is of; what is not told apart is None."""

    version: int | None = None
    device_id: str | None = None
    group: str | None = None
    begins_at: datetime | None = None


@dataclass
class Forms:
    """The forms of a model's versions, read once each."""

    session: Session
    model: str
    known: dict[int, VersionForm | None] = field(default_factory=dict)

    def of(self, version: int) -> VersionForm | None:
        """Return a version's form; None where the version is no longer there."""
        if version not in self.known:
            self.known[version] = self._read(version)
        return self.known[version]

    def _read(self, version: int) -> VersionForm | None:
        wanted = select(Version.baseline).where(Version.model == self.model, Version.number == version)
        found = self.session.exec(wanted).first()
        return None if found is None else VersionForm.of(Baseline.model_validate(found))


def read_tallies(session: Session, question: Question, forms: Forms) -> Iterator[tuple[Group, Tally]]:
    """Yield the sums of each group of windows, in the groups' order.

    Args:
        session: An open session.
        question: Which windows, and how they are told apart.
        forms: Of the model's versions.

    Raises:
        InvalidInputError: There are more than `MAX_WINDOWS`.
    """
    _check_size(session, question)
    current: Group | None = None
    tally = Tally()
    for row in _rows(session, question):
        form = forms.of(row.version)
        if form is None or (question.devices is not None and row.device_id not in question.devices):
            continue
        group = _group_of(question, row)
        if current is not None and group != current:
            yield current, tally
            tally = Tally()
        current = group
        tally.add(told_of(row, row.slices if question.has_slices else None), form)
    if current is not None:
        yield current, tally


def read_calibration(session: Session, model: str, version: int, form: VersionForm, until: datetime) -> VersionTally:
    """Return what the labels of the newest windows of a version say, whichever device they came from.

    Args:
        session: An open session.
        model: The model.
        version: Of it.
        form: Of the version.
        until: Windows that ended before.
    """
    wanted: Any = (
        select_columns(*(col(getattr(WindowRow, name)) for name in TOLD))
        .where(
            col(WindowRow.model) == model,
            col(WindowRow.version) == version,
            col(WindowRow.labelled) > 0,
            col(WindowRow.performance).is_not(None),
            col(WindowRow.ended_at) < until,
        )
        .order_by(col(WindowRow.ended_at).desc())
        .limit(MAX_CALIBRATING)
    )
    tally = Tally()
    for row in session.connection().execute(wanted.execution_options(yield_per=_READ_AT_ONCE)):
        tally.add(told_of(row), form)
    return tally.versions.get(version) or VersionTally(form)


TOLD: Final = (
    "version",
    "requests",
    "errors",
    "samples",
    "latency",
    "confidence",
    "labelled",
    "correct",
    "performance",
)
"""The columns of a window that are added up."""


def told_of(row: Any, slices: Any = None) -> Told:  # noqa: ANN401 - a row of columns
    """Return what a row with the columns `TOLD` tells, and with it of slices."""
    return Told(**{name: getattr(row, name) for name in TOLD}, slices=slices)


def _rows(session: Session, question: Question) -> Iterator[Any]:
    columns: list[Any] = [col(getattr(WindowRow, name)) for name in ("device_id", "ended_at", *TOLD)]
    if question.has_slices:  # they are long
        columns.append(col(WindowRow.slices))
    wanted: Any = (
        select_columns(*columns, col(Device.group))
        .join(Device, col(Device.id) == col(WindowRow.device_id))
        .where(*_meant(question))
        .order_by(*_order(question.by))
    )
    return iter(session.connection().execute(wanted.execution_options(yield_per=_READ_AT_ONCE)))


def _meant(question: Question) -> list[ColumnElement[bool]]:
    found = [
        col(WindowRow.model) == question.model,
        col(WindowRow.ended_at) >= question.since,
        col(WindowRow.ended_at) < question.until,
    ]
    if question.version is not None:
        found.append(col(WindowRow.version) == question.version)
    if question.devices is not None and len(question.devices) == 1:
        found += [col(WindowRow.device_id) == one for one in question.devices]
    return found


def _order(by: By) -> Sequence[Any]:
    orders: dict[By, list[Any]] = {
        "version": [col(WindowRow.version)],
        "device": [col(WindowRow.device_id)],
        "group": [col(Device.group)],
        "window": [col(WindowRow.ended_at)],
    }
    return orders.get(by, [])


def _group_of(question: Question, row: Any) -> Group:  # noqa: ANN401 - a row of columns
    match question.by:
        case "version":
            return Group(version=row.version)
        case "device":
            return Group(device_id=row.device_id)
        case "group":
            return Group(group=row.group)
        case "window":
            step_s = question.step.total_seconds()
            start_s = question.since.timestamp()
            number = int((row.ended_at.timestamp() - start_s) // step_s)
            return Group(begins_at=datetime.fromtimestamp(start_s + number * step_s, UTC))
        case _:
            return Group()


def _check_size(session: Session, question: Question) -> None:
    wanted = select(func.count()).select_from(WindowRow).where(*_meant(question))
    found = session.exec(wanted).one()
    if found > MAX_WINDOWS:
        message = f"adding up the windows of {question.model}: {found} found, at most {MAX_WINDOWS} are read at once"
        raise InvalidInputError(message, "ask for a shorter time, for one version or for one device")
