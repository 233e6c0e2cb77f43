"""Leases: whoever needs an artifact at the broker says so, and nobody else's end takes it away."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import select as select_columns
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, delete, func, select

from shoal_contract.limits import MAX_ARTIFACT_BYTES
from shoal_hub.bulk import Query
from shoal_hub.database import announce
from shoal_hub.registry.tables import Artifact
from shoal_hub.transfer.tables import Delta, Lease

LEASES: Final = "leases"
"""The word that what is to stand at the broker may have changed."""


def take_leases(session: Session, user: str, artifacts: Iterable[str], now: datetime) -> None:
    """Have artifacts stand at the broker until `user` lets go; taking one twice is taking it once.

    Args:
        session: An open transaction.
        user: Who needs them, like `rollout/r-abcdefgh`.
        artifacts: SHA-256 of artifacts of the registry.
        now: The clock.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.flush()
    for sha256 in artifacts:
        statement = insert(Lease).values(sha256=sha256, user=user, created_at=now)
        session.connection().execute(statement.on_conflict_do_nothing())
    announce(session, LEASES)


def drop_leases(session: Session, user: str) -> None:
    """Let go of everything that `user` holds."""
    session.exec(delete(Lease).where(col(Lease.user) == user))
    announce(session, LEASES)


def lease_users(session: Session) -> list[str]:
    """Return who holds any lease."""
    session.flush()  # they are read by column
    return [user for (user,) in _USERS.rows(session)]


_USERS: Final = Query(select_columns(col(Lease.user)).distinct())


def make_room(session: Session, artifacts: Collection[str], budget_bytes: int) -> None:
    """Have deltas give way to artifacts that do not fit at the broker beside what is leased already.

    What does not fit even so, the largest, comes to devices over HTTPS alone (`publishing.follow_leases`).
    """
    if not has_room(session, artifacts, budget_bytes):
        is_delta = select(Delta.artifact_sha256).where(col(Delta.artifact_sha256).is_not(None))
        session.exec(delete(Lease).where(col(Lease.sha256).in_(is_delta)))  # devices fetch whole files then


def has_room(session: Session, artifacts: Collection[str], budget_bytes: int) -> bool:
    """Whether artifacts fit at the broker beside what is leased already."""
    leased = set(session.exec(select(Lease.sha256).distinct()).all())
    total = select(func.coalesce(func.sum(Artifact.size_bytes), 0)).where(
        col(Artifact.sha256).in_(leased | set(artifacts)), col(Artifact.size_bytes) <= MAX_ARTIFACT_BYTES
    )
    return int(session.exec(total).one()) <= budget_bytes
