"""Enrolment tokens: made for an operator, taken from a device, withdrawn."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import SecretStr
from sqlalchemy import func
from sqlmodel import Session, col, select, update

from shoal_contract.enrolment import EnrolmentToken
from shoal_hub.devices.groups import make_home
from shoal_hub.devices.tables import EnrolmentTokenRow
from shoal_hub.errors import NotFoundError, RefusedError
from shoal_hub.events.record import record_event
from shoal_hub.ids import new_id
from shoal_hub.security import hash_secret, new_secret

_NEW_TOKEN = "ask for a new one: shoal tokens create"  # noqa: S105 - a remedy


class UnknownTokenError(RefusedError):
    """The hub has no such token: a typing error, or a guess."""


@dataclass(frozen=True)
class TokenTerms:
    """What a token is for: how many devices, for how long, and the group and tags that they get."""

    label: str = ""
    life: timedelta = timedelta(days=1)
    uses: int = 1
    group: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NewToken:
    """A token as it is shown once: the row without, the text with the secret."""

    row: EnrolmentTokenRow
    text: str


def create_token(session: Session, terms: TokenTerms, *, by: str, ca_sha256: str, now: datetime) -> NewToken:
    """Make a token that pins the CA with the fingerprint `ca_sha256`.

    Raises:
        ConflictError: The group that its devices are to get is dynamic.
    """
    secret = new_secret()
    row = EnrolmentTokenRow(
        id=new_id("et"),
        secret_sha256=hash_secret(secret),
        label=terms.label,
        group=terms.group,
        tags=terms.tags,
        ca_sha256=ca_sha256,
        created_at=now,
        expires_at=now + terms.life,
        uses_left=terms.uses,
        created_by=by,
    )
    session.add(row)
    make_home(session, terms.group, by=by)
    record_event(
        session, "token_created", f"enrolment token {row.id} for {terms.uses} by {by}", subject=f"token/{row.id}"
    )
    return NewToken(row, EnrolmentToken(ca_sha256, SecretStr(secret)).to_text())


def find_token(session: Session, secret: str) -> EnrolmentTokenRow:
    """Return the token with this secret, used up or expired as it may be.

    Raises:
        UnknownTokenError: The hub has no such token.
        RefusedError: It was revoked.
    """
    row = session.exec(select(EnrolmentTokenRow).where(EnrolmentTokenRow.secret_sha256 == hash_secret(secret))).first()
    if row is None:
        raise UnknownTokenError(
            "enrolling: the hub does not know this token", f"check that it was copied whole, or {_NEW_TOKEN}"
        )
    if row.revoked_at is not None:
        raise RefusedError(f"enrolling: token {row.id} was revoked", _NEW_TOKEN)
    return row


def take_use(session: Session, row: EnrolmentTokenRow, now: datetime) -> None:
    """Take one use of a token; of two requests at once for the last use, one gets it.

    Raises:
        RefusedError: It has expired, or has no use left.
    """
    if now >= row.expires_at:
        raise RefusedError(f"enrolling: token {row.id} expired at {row.expires_at:%Y-%m-%d %H:%M} UTC", _NEW_TOKEN)
    left = col(EnrolmentTokenRow.uses_left)
    guarded = update(EnrolmentTokenRow).where(col(EnrolmentTokenRow.id) == row.id, left > 0).values(uses_left=left - 1)
    if session.exec(guarded).rowcount != 1:
        raise RefusedError(f"enrolling: token {row.id} was used already", _NEW_TOKEN)


def count_pinning(session: Session, ca_sha256: str, now: datetime) -> int:
    """Return how many tokens that can still be used pin the CA with this fingerprint."""
    wanted = select(func.count()).where(
        col(EnrolmentTokenRow.ca_sha256) == ca_sha256,
        col(EnrolmentTokenRow.expires_at) > now,
        col(EnrolmentTokenRow.uses_left) > 0,
        col(EnrolmentTokenRow.revoked_at).is_(None),
    )
    return session.exec(wanted.select_from(EnrolmentTokenRow)).one()


def revoke_token(session: Session, token_id: str, *, by: str, now: datetime) -> EnrolmentTokenRow:
    """Withdraw a token; devices that enrolled with it stay.

    Raises:
        NotFoundError: The hub has no such token.
    """
    row = session.get(EnrolmentTokenRow, token_id)
    if row is None:
        raise NotFoundError(f"no enrolment token {token_id}", "list them: shoal tokens list")
    if row.revoked_at is None:
        row.revoked_at = now
        session.add(row)
        record_event(session, "token_revoked", f"enrolment token {row.id} revoked by {by}", subject=f"token/{row.id}")
    return row
