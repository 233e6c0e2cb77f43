"""The job that makes one delta: of the plain files, then encrypted where one of the two is, in a process of its own."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, select

from shoal_contract.encryption import delta_key, encrypt_file
from shoal_contract.ids import sha256_hex
from shoal_hub.database import utc_now
from shoal_hub.errors import JobError
from shoal_hub.jobs.work import JobWork
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.encrypt import VariantFile, find_file, open_version_key
from shoal_hub.registry.tables import Artifact
from shoal_hub.transfer.leases import has_room, take_leases
from shoal_hub.transfer.tables import Delta, DeltaState, Lease
from shoal_hub.trust.version_keys import VersionKeys
from shoal_numerics.delta import best_delta


class DeltaParams(BaseModel):
    """The job's parameters: base and result, each by the hash of what travels of the file."""

    model_config = ConfigDict(frozen=True)

    base_sha256: str
    result_sha256: str


class DeltaResult(BaseModel):
    """The job's result: how it went, and the bytes that travel of the delta, if there is one, and of the whole file."""

    state: DeltaState
    why: str
    delta_bytes: int | None
    whole_bytes: int


class _Patch(NamedTuple):
    """A patch, plain as in this process alone, and as it travels."""

    plain: bytes
    travels: bytes
    is_encrypted: bool


def run(work: JobWork) -> DeltaResult:
    """Make the delta and store what travels of it; whoever leases the result leases it from then on.

    Raises:
        JobError: One of the files is of no version any more.
        ArtifactError: A file is not in the store, or damaged.
        TrustError: A version's key does not open.
    """
    params = DeltaParams.model_validate(work.params)
    try:
        patch = _make(work, params)
    except Exception as error:
        with work.database.transaction() as session:
            row = _row(session, params)
            row.state, row.why = "failed", str(error)[:1000]
            session.add(row)
        raise
    with work.database.transaction() as session:
        row = _row(session, params)
        whole_bytes = session.get_one(Artifact, params.result_sha256).size_bytes
        delta_bytes = len(patch.travels) if patch is not None else None
        if patch is not None and len(patch.travels) < whole_bytes:
            _keep(session, work, row, patch)
        else:
            row.state, row.why = "useless", "the two files have too little in common: it is no smaller than the whole"
        session.add(row)
        return DeltaResult(state=row.state, why=row.why, delta_bytes=delta_bytes, whole_bytes=whole_bytes)


def _make(work: JobWork, params: DeltaParams) -> _Patch | None:
    """Return the patch, None where the new file itself is no larger."""
    with work.database.session() as session:
        base, result = _file(session, params.base_sha256), _file(session, params.result_sha256)
        key = delta_key(_key(session, work, base), _key(session, work, result))
    plain = best_delta(work.artifacts.read(base.sha256), work.artifacts.read(result.sha256))
    if plain is None:
        return None
    return _Patch(plain, plain if key is None else encrypt_file(plain, key), key is not None)


def _keep(session: Session, work: JobWork, row: Delta, patch: _Patch) -> None:
    stored = store_artifact(session, work.artifacts, patch.travels)
    row.state, row.why = "made", ""
    row.artifact_sha256, row.sha256, row.size_bytes = stored.sha256, sha256_hex(patch.plain), len(patch.plain)
    row.encrypted_size_bytes = stored.size_bytes if patch.is_encrypted else None
    if not has_room(session, [stored.sha256], work.settings.retained_budget_bytes):
        return  # made for the next rollout; this one's whole files take the room
    for user in session.exec(select(Lease.user).where(Lease.sha256 == row.result_sha256)).all():
        take_leases(session, user, [stored.sha256], utc_now())


def _row(session: Session, params: DeltaParams) -> Delta:
    return session.get_one(Delta, (params.base_sha256, params.result_sha256))


def _file(session: Session, sha256: str) -> VariantFile:
    found = find_file(session, sha256)
    if found is None:
        raise JobError(f"making a delta: {sha256[:12]} is of no version any more", "start the rollout again")
    return found


def _key(session: Session, work: JobWork, file: VariantFile) -> bytes | None:
    if not file.is_encrypted:
        return None
    key = open_version_key(session, VersionKeys.open(work.settings.data / "trust"), file.version)
    if key is None:
        raise JobError(f"making a delta: {file.version.name} is encrypted and has no key", "start its rollout again")
    return key
