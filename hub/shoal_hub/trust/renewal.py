"""Renews what is half through its life, tells what runs out, and takes up what the broker is ahead in.

The controller calls this by level; most calls find that nothing is to do, at the price of one query.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, delete, select
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Timestamp

from shoal_hub.audit.actor import CONTROLLER
from shoal_hub.bulk import Query
from shoal_hub.database import Database
from shoal_hub.events.record import record_event
from shoal_hub.events.tables import EventRow
from shoal_hub.trust.hub_trust import HubTrust
from shoal_hub.trust.renewal_record import recorded
from shoal_hub.trust.repository import Standing, TrustRepository, is_half_over
from shoal_hub.trust.roles import OFFLINE, ROOT, TARGETS, TIMESTAMP, parse_stored_name, stored_name
from shoal_hub.trust.signing import AnyMetadata, verifiers
from shoal_hub.trust.staging import Staging
from shoal_hub.trust.status import expiry_text, is_running_out
from shoal_hub.trust.tables import StagedMetadata


def renew_due(database: Database, trust: HubTrust, now: datetime) -> bool:
    """Sign again what is half through its life; stage it where the keys are offline. Tell what runs out.

    Returns:
        Whether anything was signed or staged.
    """
    with database.session() as session:
        if not _is_anything_due(trust.reading(session), now):
            return False
    with database.transaction() as session:
        repository = trust.writing(session, now)
        with recorded(repository, "trust.renew", CONTROLLER):
            is_new = _renew_online(repository) | _renew_offline(repository)
        for row in _untold(repository, repository.standing(), now):
            record_event(session, "trust_expiring", expiry_text(row), subject=_subject(row), severity="error")
    return is_new


def _renew_offline(repository: TrustRepository) -> bool:
    staging = Staging(repository)
    if not staging.renew():
        return False
    if not staging.settle():
        text = "offline metadata is half through its life and waits for signatures: shoal trust sign --keys FOLDER"
        record_event(repository.session, "trust_staged", text, subject="trust", severity="warning")
    return True


def sign_all_again(database: Database, trust: HubTrust, now: datetime, retained: Mapping[str, bytes]) -> None:
    """Sign all online metadata under new versions, above what the broker keeps, and take up offline metadata from it.

    A hub that was restored from a backup is then ahead of its devices again. Metadata of the broker counts only where
    the root in force verifies it.

    Args:
        database: The database.
        trust: The hub's keys.
        now: The clock.
        retained: What the broker keeps, by name: `<version>.<role>` and `timestamp`.
    """
    with database.transaction() as session:
        repository = trust.writing(session, now)
        with recorded(repository, "trust.sign_all_again", CONTROLLER):
            _adopt_roots(repository, retained)
            _adopt_targets(repository, retained)
            _renew_online(trust.writing(session, now, _floor(repository, retained)), force=True)


def claimed_version(content: bytes) -> int:
    """Return the version that metadata of unknown origin claims; 0 for what is no metadata."""
    md = _parsed(content)
    return md.signed.version if md is not None else 0


def _is_anything_due(repository: TrustRepository, now: datetime) -> bool:
    rows = repository.standing()
    waiting = {role for (role,) in _WAITING.rows(repository.session)}
    is_due = any(is_half_over(row, repository.lives, now) and row.role not in waiting for row in rows)
    return not rows or is_due or bool(_untold(repository, rows, now))


_WAITING: Final = Query(select_columns(col(StagedMetadata.role)))


def _untold(repository: TrustRepository, rows: Iterable[Standing], now: datetime) -> list[Standing]:
    """Return what of this runs out and that no event has told yet."""
    running_out = [row for row in rows if is_running_out(row, repository, now)]
    told = _told(repository.session, "trust_expiring") if running_out else set()
    return [row for row in running_out if _subject(row) not in told]


def _subject(row: Standing) -> str:
    return f"trust/{row.role}/{row.version}"


def _renew_online(repository: TrustRepository, *, force: bool = False) -> bool:
    is_new = repository.renew(force=force)
    told = _told(repository.session, "trust_unsigned")
    for role, error in repository.unsigned.items():
        row = repository.newest(role)
        subject = f"trust/{role}/{row.version if row is not None else 0}"
        if subject not in told:
            text = f"the role {role} was not renewed: {error}"
            record_event(repository.session, "trust_unsigned", text[:1000], subject=subject, severity="error")
    return is_new


def _told(session: Session, kind: str) -> set[str]:
    """Return what events of a kind were about; there are as many as metadata has run out."""
    return set(session.exec(select(EventRow.subject).where(EventRow.kind == kind).distinct()).all())


def _adopt_roots(repository: TrustRepository, retained: Mapping[str, bytes]) -> None:
    while (content := retained.get(stored_name(repository.root().version + 1, ROOT))) is not None:
        md = _parsed(content)
        is_next = md is not None and isinstance(md.signed, Root) and md.signed.version == repository.root().version + 1
        if md is None or not is_next or not _is_signed(ROOT, repository, md):
            return
        _adopt(repository, ROOT, md)


def _adopt_targets(repository: TrustRepository, retained: Mapping[str, bytes]) -> None:
    for role in OFFLINE[1:]:
        versions = sorted(_versions(retained, role), reverse=True)
        in_force = repository.newest(role)
        for version in versions:
            md = _parsed(retained[stored_name(version, role)])
            if in_force is None or version <= in_force.version:
                break
            if md is not None and md.signed.version == version and _is_signed(role, repository, md):
                _adopt(repository, role, md)
                break


def _adopt(repository: TrustRepository, role: str, md: AnyMetadata) -> None:
    repository.store(role, md)
    repository.session.exec(delete(StagedMetadata))  # drafts of versions that were given after the backup
    record_event(
        repository.session,
        "trust_adopted",
        f"the broker keeps {role} version {md.signed.version}, later than this database: it was taken up, and what "
        "waited for signatures was dropped",
        subject=f"trust/{role}",
        severity="warning",
    )


def _is_signed(role: str, repository: TrustRepository, md: AnyMetadata) -> bool:
    current = {one: repository.open(one) for one in (ROOT, TARGETS)}
    try:
        for _, verifier in verifiers(role, current, {role: md}):
            verifier.verify_delegate(role, md.signed_bytes, md.signatures)
    except (UnsignedMetadataError, ValueError):
        return False
    return True


def _floor(repository: TrustRepository, retained: Mapping[str, bytes]) -> int:
    """Return the version of the broker's timestamp, if it is one of ours: every online version is at most as high."""
    md = _parsed(retained.get("timestamp", b""))
    if md is None or not isinstance(md.signed, Timestamp):
        return 0
    try:
        repository.root().verify_delegate(TIMESTAMP, md.signed_bytes, md.signatures)
    except UnsignedMetadataError:
        return 0
    return md.signed.version


def _parsed(content: bytes) -> AnyMetadata | None:
    try:
        return Metadata.from_bytes(content)
    except RepositoryError:
        return None  # not one that a hub wrote: the same as none


def _versions(retained: Mapping[str, bytes], role: str) -> list[int]:
    names = [parsed for name in retained if (parsed := parse_stored_name(name)) is not None]
    return [version for version, named in names if named == role]
