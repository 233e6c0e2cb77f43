"""Silences as they are set, ended and looked at."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.alerts.tables import AlertSilence
from shoal_hub.alerts.telling import Matcher, Silence
from shoal_hub.database import announce
from shoal_hub.errors import ConflictError, InvalidInputError, NotFoundError
from shoal_hub.ids import new_id

LONGEST: Final = timedelta(days=366)
MAX_ACTIVE: Final = 1000


def add_silence(
    session: Session,
    matchers: Sequence[Matcher],
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
    *,
    by: str,
    now: datetime,
) -> AlertSilence:
    """Have alerts told to nobody for a time.

    Raises:
        InvalidInputError: It ends before it starts, or is over, or lasts too long.
        ConflictError: There are as many as there may be.
    """
    if not max(starts_at, now) < ends_at <= starts_at + LONGEST:
        raise InvalidInputError(
            f"setting a silence from {starts_at:%Y-%m-%d %H:%M} until {ends_at:%Y-%m-%d %H:%M} UTC: "
            f"it is over, or lasts longer than {LONGEST.days} days",
            "give an end that is to come",
        )
    if len(session.exec(select(AlertSilence.id).where(col(AlertSilence.ends_at) > now)).all()) >= MAX_ACTIVE:
        raise ConflictError(
            f"setting a silence: {MAX_ACTIVE} are to come or at work, which is the most",
            "end others: shoal alerts unsilence",
        )
    row = AlertSilence(
        id=new_id("as"),
        matchers=[one.model_dump() for one in matchers],
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason,
        created_by=by,
        created_at=now,
    )
    session.add(row)
    announce(session, "alerts")
    return row


def end_silence(session: Session, silence_id: str, *, by: str, now: datetime) -> AlertSilence:
    """End a silence before its time; it stays in the list.

    Raises:
        NotFoundError: There is none of this id.
        ConflictError: It is over.
    """
    row = session.get(AlertSilence, silence_id)
    if row is None:
        raise NotFoundError(f"there is no silence {silence_id}", "list them: shoal alerts silences")
    if row.ends_at <= now:
        raise ConflictError(f"the silence {silence_id} is over")
    row.ends_at, row.ended_by = now, by
    row.starts_at = min(row.starts_at, now)
    session.add(row)
    announce(session, "alerts")
    return row


def active_silences(session: Session, now: datetime) -> list[Silence]:
    """Return the silences that are at work now."""
    rows = session.exec(
        select(AlertSilence)
        .where(col(AlertSilence.starts_at) <= now, col(AlertSilence.ends_at) > now)
        .order_by(col(AlertSilence.id))
    )
    return [
        Silence(row.id, [Matcher.model_validate(one) for one in row.matchers], row.starts_at, row.ends_at)
        for row in rows
    ]
