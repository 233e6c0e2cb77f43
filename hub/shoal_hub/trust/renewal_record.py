"""Writes into the audit trail what the hub does to its update metadata by itself: versions and their ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, Final

from sqlmodel import Session, select
from tuf.api.metadata import Metadata

from shoal_hub.audit.actor import Actor
from shoal_hub.audit.record import record
from shoal_hub.trust.repository import TrustRepository
from shoal_hub.trust.tables import StagedMetadata

_MAX_ROLES: Final = 100
"""Of a hub with more models than this, which are signed all at once, an entry names so many and counts the others."""
_Versions = dict[str, dict[str, Any]]


@contextmanager
def recorded(repository: TrustRepository, action: str, by: Actor) -> Iterator[None]:
    """Have what changes in this block be one entry, with the change itself; no change, no entry.

    Args:
        repository: Of an open transaction; the block may write through another one of the same session.
        action: What, like `trust.renew`.
        by: Which part of the hub.
    """
    before = _versions(repository)
    yield
    after = _versions(repository)
    names = [name for name in before | after if before.get(name) != after.get(name)]
    if names:
        record(repository.session, by, action, "trust", _some(before, names), _some(after, names))


def _versions(repository: TrustRepository) -> _Versions:
    in_force = {row.role: _shown(row.version, row.expires_at) for row in repository.standing()}
    return in_force | {f"staged/{role}": shown for role, shown in _staged(repository.session)}


def _staged(session: Session) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in session.exec(select(StagedMetadata)):
        signed = Metadata.from_bytes(row.content).signed
        yield row.role, _shown(signed.version, signed.expires)


def _shown(version: int, expires_at: datetime) -> dict[str, Any]:
    return {"version": version, "expires_at": expires_at.isoformat()}


def _some(versions: _Versions, names: list[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {name: versions[name] for name in islice(names, _MAX_ROLES) if name in versions}
    left = len(names) - _MAX_ROLES
    return shown | {"…": {"roles": left}} if left > 0 else shown
