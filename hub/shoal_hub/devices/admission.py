"""What lets a device in: a token, a key that was authorised, or an operator who accepts it; and what it gets."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, delete, select

from shoal_contract.enrolment import EnrolmentPending, EnrolmentRequest
from shoal_hub.database import announce
from shoal_hub.devices.admission_tables import AuthorisedKey, PendingEnrolment
from shoal_hub.devices.tables import EnrolmentTokenRow
from shoal_hub.errors import RefusedError, TooManyRequestsError
from shoal_hub.events.record import record_event
from shoal_hub.settings import Settings

_WAYS = (
    "use a token (shoal tokens create), or have the key authorised (shoal-agent key, then shoal devices authorise), or "
    "set SHOAL_ENROL_BY_HAND at the hub"
)


@dataclass(frozen=True)
class Admission:
    """Why a device may enrol, and what it is given: a name (empty for its own), a group and tags."""

    why: str
    name: str = ""
    group: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asking:
    """A device that asks without a token: its request, its key's fingerprint, and from where."""

    request: EnrolmentRequest
    key_sha256: str
    address: str


def admit_by_token(token: EnrolmentTokenRow, request: EnrolmentRequest) -> Admission:
    """Return what a token gives; whoever calls has taken a use of it."""
    return Admission(f"token {token.id}", request.name or token.label, token.group, dict(token.tags))


def admit_without_token(
    session: Session, settings: Settings, asking: Asking, now: datetime
) -> Admission | EnrolmentPending:
    """Let in a device whose key was authorised or that an operator has accepted; have another wait.

    Raises:
        RefusedError: Its key is unknown and nobody looks at such devices, or an operator has rejected it.
        TooManyRequestsError: Too many wait already.
    """
    known = session.get(AuthorisedKey, asking.key_sha256)
    if known is not None:
        return _admit_authorised(known, now)
    waiting = session.get(PendingEnrolment, asking.key_sha256)
    if waiting is not None and waiting.state == "accepted":
        session.delete(waiting)
        return Admission(f"accepted by {waiting.decided_by}", waiting.name, waiting.group, dict(waiting.tags))
    if waiting is not None and waiting.state == "rejected":
        raise RefusedError(
            f"enrolling: {waiting.decided_by} has rejected the key {asking.key_sha256}",
            "talk to the hub's operator; shoal devices accept lets it in after all",
        )
    if not settings.enrol_by_hand:
        raise RefusedError(
            f"enrolling: no token was sent, and nobody has authorised the key {asking.key_sha256}", _WAYS
        )
    return _wait(session, settings, asking, waiting, now)


def _admit_authorised(row: AuthorisedKey, now: datetime) -> Admission:
    if row.device_id is not None:
        raise RefusedError(
            f"enrolling: the key {row.key_sha256} was used up by device {row.device_id}",
            "have the device make another key (move its identity folder away) and authorise that one",
        )
    if row.expires_at is not None and now >= row.expires_at:
        raise RefusedError(
            f"enrolling: the key {row.key_sha256} was authorised until {row.expires_at:%Y-%m-%d %H:%M} UTC",
            "authorise it again: shoal devices authorise",
        )
    return Admission(f"a key that {row.created_by} authorised", row.name, row.group, dict(row.tags))


def _wait(
    session: Session, settings: Settings, asking: Asking, waiting: PendingEnrolment | None, now: datetime
) -> EnrolmentPending:
    if waiting is None:
        _make_room(session, settings, now)
        name, model = asking.request.name, asking.request.hardware.model
        waiting = PendingEnrolment(
            key_sha256=asking.key_sha256,
            name=name,
            hardware=asking.request.hardware.model_dump(mode="json"),
            first_asked_at=now,
            last_asked_at=now,
        )
        message = f"{name or 'a device'} ({model}) at {asking.address} waits to be accepted: {asking.key_sha256}"
        record_event(session, "enrolment_pending", message, subject=f"key/{asking.key_sha256}", severity="warning")
        announce(session, "devices")
    waiting.last_asked_at, waiting.address = now, asking.address
    session.add(waiting)
    return EnrolmentPending(key_sha256=asking.key_sha256, retry_after_s=settings.pending_retry_s)


def _make_room(session: Session, settings: Settings, now: datetime) -> None:
    """Forget those that ask no more; of those that were decided on, keep no more than may wait."""
    old = now - timedelta(seconds=settings.pending_life_s)
    session.exec(delete(PendingEnrolment).where(col(PendingEnrolment.last_asked_at) < old))
    waits = col(PendingEnrolment.state) == "waiting"
    if _count(session, waits) >= settings.pending_max:
        raise TooManyRequestsError(
            f"enrolling: {settings.pending_max} devices wait for an operator already",
            "accept or reject some (shoal devices pending), or raise SHOAL_PENDING_MAX at the hub",
            retry_after_s=settings.pending_retry_s,
        )
    excess = _count(session, ~waits) - settings.pending_max + 1
    if excess > 0:
        oldest = select(PendingEnrolment.key_sha256).where(~waits).order_by(col(PendingEnrolment.last_asked_at))
        session.exec(delete(PendingEnrolment).where(col(PendingEnrolment.key_sha256).in_(oldest.limit(excess))))


def _count(session: Session, which: object) -> int:
    return session.exec(select(func.count()).select_from(PendingEnrolment).where(which)).one()  # type: ignore[arg-type]
