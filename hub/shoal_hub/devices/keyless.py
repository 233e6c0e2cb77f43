"""The operators' side of devices without a token: keys that are authorised beforehand, and devices that wait."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session, col, select

from shoal_hub.database import announce
from shoal_hub.devices.admission_tables import AuthorisedKey, PendingEnrolment
from shoal_hub.devices.groups import make_home
from shoal_hub.errors import ConflictError, NotFoundError
from shoal_hub.events.record import record_event


@dataclass(frozen=True)
class KeyTerms:
    """A key's fingerprint and what its device gets."""

    key_sha256: str
    name: str = ""
    group: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    expires_at: datetime | None = None


def authorise_keys(session: Session, terms: Sequence[KeyTerms], *, by: str, now: datetime) -> list[AuthorisedKey]:
    """Let the devices with these keys enrol without a token; who names a key again changes what its device gets.

    Raises:
        ConflictError: A device has enrolled with one of the keys already, or a group is dynamic; none is authorised.
    """
    rows = [_authorise(session, one, by, now) for one in terms]
    record_event(session, "keys_authorised", f"{len(rows)} keys authorised by {by}")
    return rows


def _authorise(session: Session, terms: KeyTerms, by: str, now: datetime) -> AuthorisedKey:
    row = session.get(AuthorisedKey, terms.key_sha256)
    if row is not None and row.device_id is not None:
        raise ConflictError(
            f"authorising the key {terms.key_sha256}: device {row.device_id} has enrolled with it",
            "leave it out; to change the device: shoal devices tag",
        )
    row = row or AuthorisedKey(key_sha256=terms.key_sha256, created_at=now, created_by=by)
    row.name, row.group, row.tags, row.expires_at = terms.name, terms.group, terms.tags, terms.expires_at
    row.created_at, row.created_by = now, by
    session.add(row)
    make_home(session, terms.group, by=by)
    return row


def withdraw_key(session: Session, key_sha256: str, *, by: str) -> None:
    """Let no device enrol with this key any more; one that has enrolled stays.

    Raises:
        NotFoundError: The key was not authorised.
    """
    row = session.get(AuthorisedKey, key_sha256)
    if row is None:
        raise NotFoundError(f"no authorised key {key_sha256}", "list them: shoal devices authorised")
    session.delete(row)
    record_event(session, "key_withdrawn", f"key {key_sha256} withdrawn by {by}", subject=f"key/{key_sha256}")


def list_pending(session: Session, limit: int) -> list[PendingEnrolment]:
    """Return the devices that ask without a token, those that wait first, the longest wait first."""
    order = (col(PendingEnrolment.state).desc(), col(PendingEnrolment.first_asked_at))
    return list(session.exec(select(PendingEnrolment).order_by(*order).limit(limit)))


def accept(session: Session, terms: KeyTerms, *, by: str) -> PendingEnrolment:
    """Let a device that waits enrol when it asks again.

    Raises:
        NotFoundError: No device with this key has asked.
        ConflictError: The group that it is to get is dynamic.
    """
    row = _pending(session, terms.key_sha256)
    row.state, row.decided_by = "accepted", by
    row.name, row.group, row.tags = terms.name or row.name, terms.group, terms.tags
    session.add(row)
    make_home(session, terms.group, by=by)
    return _decided(session, row)


def reject(session: Session, key_sha256: str, *, by: str) -> PendingEnrolment:
    """Refuse a device that waits, for as long as it goes on asking.

    Raises:
        NotFoundError: No device with this key has asked.
    """
    row = _pending(session, key_sha256)
    row.state, row.decided_by = "rejected", by
    return _decided(session, row)


def _pending(session: Session, key_sha256: str) -> PendingEnrolment:
    row = session.get(PendingEnrolment, key_sha256)
    if row is None:
        raise NotFoundError(f"no device waits with the key {key_sha256}", "list them: shoal devices pending")
    return row


def _decided(session: Session, row: PendingEnrolment) -> PendingEnrolment:
    session.add(row)
    message = f"{row.name or row.key_sha256} {row.state} by {row.decided_by}"
    record_event(session, f"enrolment_{row.state}", message, subject=f"key/{row.key_sha256}")
    announce(session, "devices")
    return row
