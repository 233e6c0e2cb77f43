"""Deltas: which are being made, which are there, and which of them a transfer manifest names.

A pair of files is asked for by who starts a rollout; a job makes its patch (`transfer.make_delta`). Deltas are a help
alone: one that is late, of no use or could not be made holds nothing up, as the whole file always stands beside it.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import and_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from shoal_contract.limits import MAX_ARTIFACT_BYTES, MAX_DELTAS
from shoal_contract.transfer import DeltaRef
from shoal_hub.bulk import Query
from shoal_hub.database import Database, add_unless_there
from shoal_hub.jobs.queue import enqueue, give_up
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.encrypt import travels_as
from shoal_hub.registry.tables import VariantRow, Version
from shoal_hub.transfer.tables import Delta, Lease, Retained

_ENDED: Final = "every rollout that wanted the delta has ended"
Pair = tuple[str, str]
"""Base and result, each by the hash of what travels of the file."""


def want_deltas(session: Session, pairs: Iterable[Pair], *, subject: str, by: str) -> list[str]:
    """Have the deltas of these pairs made, each once; what failed before is tried again.

    Args:
        session: An open transaction.
        pairs: The pairs.
        subject: What the jobs are about, like `models/digits/2`.
        by: Who asks.

    Returns:
        The artifacts of those that are made already.
    """
    made = []
    for base, result in sorted(pairs):
        row = session.get(Delta, (base, result))
        if row is not None and row.artifact_sha256 is not None:
            made.append(row.artifact_sha256)
        elif row is None or not (row.state == "useless" or _is_on_its_way(session, row)):
            job = enqueue(session, "delta", subject, {"base_sha256": base, "result_sha256": result}, by=by)
            asked = Delta(base_sha256=base, result_sha256=result, job_id=job.id)
            if row is None:
                add_unless_there(session, asked)
            else:
                session.merge(asked)
    session.flush()
    return made


def has_deltas_to_come(session: Session, user: str) -> bool:
    """Whether a delta to what `user` leases is being made, or is made and leased but not at the broker yet."""
    leased = set(session.exec(select(Lease.sha256).where(Lease.user == user)).all())
    rows = session.exec(select(Delta).where(col(Delta.result_sha256).in_(leased))).all()
    return any(
        _is_on_its_way(session, row) or (row.artifact_sha256 in leased and not _is_named(session, row)) for row in rows
    )


def end_unwanted_deltas(database: Database) -> None:
    """Give up the making of deltas to files that nobody leases any more: their rollouts have ended."""
    with database.session() as session:
        if not _ANY_UNWANTED.rows(session):
            return
    with database.transaction() as session:
        for row in session.exec(select(Delta).where(_IS_UNWANTED)).all():
            give_up(session, row.job_id, _ENDED)
            row.state, row.why = "failed", _ENDED
            session.add(row)


_IS_UNWANTED: Final = and_(
    col(Delta.state) == "making", col(Delta.result_sha256).not_in(select_columns(col(Lease.sha256)))
)
_ANY_UNWANTED: Final = Query(select_columns(col(Delta.result_sha256)).where(_IS_UNWANTED).limit(1))


def named_deltas(session: Session) -> dict[str, dict[str, DeltaRef]]:
    """Return, by result, the deltas that its transfer manifest is to name, by base: those whose chunks stand."""
    named: dict[str, dict[str, DeltaRef]] = {}
    for row in session.exec(_STANDING):
        of_result = named.setdefault(row.result_sha256, {})
        if row.ref is not None and len(of_result) < MAX_DELTAS:
            of_result[row.base_sha256] = row.ref
    return named


_STANDING: Final = (
    select(Delta)
    .join(Retained, col(Retained.sha256) == col(Delta.artifact_sha256))
    .where(Retained.state == "standing")
    .order_by(col(Delta.size_bytes), col(Delta.base_sha256))
)


def deltas_to(session: Session, results: Collection[str]) -> set[str]:
    """Return the artifacts of all deltas to these files."""
    wanted = select(Delta.artifact_sha256).where(col(Delta.result_sha256).in_(results))
    return {sha256 for sha256 in session.exec(wanted) if sha256 is not None}


def running_files(session: Session, model: str) -> dict[tuple[int, str, str], str]:
    """Return what travels of the files of a model that the registry has sent, by version, target and the file's hash.

    A device may say that it runs anything. What was never rolled out may yet become encrypted (`mark_encrypted`), and
    then nothing plain of it may stand at the broker, a delta neither.
    """
    variant = (VariantRow.target, VariantRow.sha256, VariantRow.encrypted_sha256)
    columns: Any = select_columns(col(Version.number), *map(col, variant), col(Version.is_encrypted))
    joined = columns.join(VariantRow, col(Version.id) == col(VariantRow.version_id))
    sent = joined.where(col(Version.model) == model, col(Version.manifest_sha256).is_not(None))
    small = sent.where(col(VariantRow.size_bytes) <= MAX_ARTIFACT_BYTES)  # both files of a delta are read into memory
    files = {
        (number, target, sha256): travels_as(sha256, sealed, is_encrypted=is_encrypted)
        for number, target, sha256, sealed, is_encrypted in session.connection().execute(small)
    }
    return {key: sha256 for key, sha256 in files.items() if sha256 is not None}


def _is_on_its_way(session: Session, row: Delta) -> bool:
    """Whether its job will still say something; one whose process was lost too often does not."""
    if row.state != "making":
        return False
    state = session.exec(select(Job.state).where(Job.id == row.job_id)).one()
    return state in {"queued", "running"}


def _is_named(session: Session, row: Delta) -> bool:
    retained = session.get(Retained, row.result_sha256)
    return retained is not None and retained.state == "standing" and row.base_sha256 in retained.deltas
