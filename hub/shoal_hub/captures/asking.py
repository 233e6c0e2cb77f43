"""Asks devices for samples of a model, ceases to ask, and tells each device what is asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session, col, select

from shoal_contract.captures import CaptureReason, DesiredCapture, DesiredCaptures
from shoal_hub.bulk import Query
from shoal_hub.captures.tables import CaptureRequest
from shoal_hub.database import AdvisoryLock, Database, announce, hold
from shoal_hub.devices import placing
from shoal_hub.devices.compose import CAPTURES
from shoal_hub.devices.groups import find_group
from shoal_hub.devices.placing import members_of, told_of
from shoal_hub.devices.tables import Device
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event
from shoal_hub.registry.tables import Model

OWNER: Final = "captures"
MAX_REQUESTS: Final = 64
"""As many models as a device is asked about."""


@dataclass(frozen=True)
class Asked:
    """Which samples, of whose devices.

    Attributes:
        group: Whose devices; None: all of the fleet.
        reasons: Samples that one of these has picked; none: all that are kept.
        max_samples_per_day: Of each device, in a day of UTC.
        max_bytes_per_day: The same.
        after_s: How old a sample is before it is sent.
    """

    group: str | None
    reasons: tuple[CaptureReason, ...]
    max_samples_per_day: int
    max_bytes_per_day: int
    after_s: float


def ask_for(session: Session, model: str, asked: Asked, *, by: str, now: datetime) -> CaptureRequest:
    """Have devices send samples of a model, or ask for others than before; asked for as they are, nothing happens.

    Raises:
        NotFoundError: There is no such model or group.
        ConflictError: So many models are asked for already.
    """
    hold(session, AdvisoryLock.CAPTURES)
    if session.get(Model, model) is None:
        raise NotFoundError(f"asking for samples of {model}: there is no such model", "list them: shoal models list")
    if asked.group is not None:
        find_group(session, asked.group, is_locked=True)
    row = session.get(CaptureRequest, model)
    if row is None and len(session.exec(select(CaptureRequest.model)).all()) >= MAX_REQUESTS:
        raise ConflictError(
            f"asking for samples of {model}: those of {MAX_REQUESTS} models are asked for, which is the most",
            "cease to ask for others: shoal captures unwant",
        )
    wanted: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in vars(asked).items()
    }
    if row is not None and wanted == {name: getattr(row, name) for name in wanted}:
        return row
    row = row or CaptureRequest(model=model, revision=0, set_by=by, set_at=now, **wanted)
    for name, value in wanted.items():
        setattr(row, name, value)
    row.revision, row.set_by, row.set_at = row.revision + 1, by, now
    session.add(row)
    session.flush()
    place(session, now)
    _record(session, "captures_wanted", f"captured samples of {model} are asked for by {by}", model)
    return row


def cease_to_ask(session: Session, model: str, *, by: str, now: datetime) -> CaptureRequest:
    """Have devices send no samples of a model any more; those that have come stay.

    Raises:
        NotFoundError: None are asked for.
    """
    hold(session, AdvisoryLock.CAPTURES)
    row = session.get(CaptureRequest, model)
    if row is None:
        raise NotFoundError(f"no samples of {model} are asked for", "list what is: shoal captures wanted")
    session.delete(row)
    session.flush()
    place(session, now)
    _record(session, "captures_unwanted", f"captured samples of {model} are asked for no more, by {by}", model)
    return row


def drop_group_captures(session: Session, group: str, now: datetime) -> None:
    """Cease to ask the devices of a group that ends.

    Args:
        session: An open transaction.
        group: The group, locked.
        now: The clock.
    """
    rows = session.exec(select(CaptureRequest).where(CaptureRequest.group == group)).all()
    for row in rows:
        session.delete(row)
    if rows:
        session.flush()
        place(session, now)


def place(session: Session, now: datetime) -> None:
    """Tell each device what is asked of it, by who is in a group now."""
    hold(session, AdvisoryLock.CAPTURES)
    rows = _requests(session)
    asked = {f"{row.model}:{row.revision}": row for row in rows}

    def body_of(told: str) -> DesiredCaptures:
        return DesiredCaptures(models={asked[one].model: _wanted(asked[one]) for one in told.split(",")})

    placing.place(session, OWNER, CAPTURES, _asked_of_each(session, rows, now), body_of, now)


def follow_captures(database: Database, now: datetime) -> None:
    """Ask devices that came into a group or left it since the last look."""
    with database.session() as session:
        has_news = told_of(session, OWNER) != _asked_of_each(session, _requests(session), now)
    if has_news:
        with database.transaction() as session:
            place(session, now)


def _requests(session: Session) -> Sequence[CaptureRequest]:
    return session.exec(select(CaptureRequest).order_by(CaptureRequest.model)).all()


def _asked_of_each(session: Session, rows: Sequence[CaptureRequest], now: datetime) -> dict[str, str]:
    """Return what each device is asked by these requests, like `digits:2,parts:1`."""
    members = members_of(session, (row.group for row in rows if row.group is not None), now)
    everybody: list[str] = []
    if any(row.group is None for row in rows):
        session.flush()  # they are read by column
        everybody = [device_id for (device_id,) in _EVERYBODY.rows(session)]
    asked: dict[str, str] = {}
    for row in rows:
        one = f"{row.model}:{row.revision}"
        for device_id in everybody if row.group is None else members[row.group]:
            asked[device_id] = f"{asked[device_id]},{one}" if device_id in asked else one
    return asked


_EVERYBODY: Final = Query(select(Device.id).where(col(Device.revoked_at).is_(None)))


def _wanted(row: CaptureRequest) -> DesiredCapture:
    return DesiredCapture.model_validate(row, from_attributes=True)


def _record(session: Session, kind: str, text: str, model: str) -> None:
    record_event(session, kind, text, subject=f"model/{model}")
    announce(session, "captures")
