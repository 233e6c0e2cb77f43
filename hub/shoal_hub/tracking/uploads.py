"""Uploads in parts: begun, filled part by part by whoever has the upload's secret, put together, or given up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from pathlib import Path
from typing import Final

from sqlmodel import Session, col, select

from shoal_hub.database import Database
from shoal_hub.errors import InvalidInputError, NotFoundError, RefusedError
from shoal_hub.ids import new_id
from shoal_hub.registry.artifacts import ArtifactStore, StoredArtifact
from shoal_hub.registry.incoming import GATHERED_BYTES, receiving
from shoal_hub.security import hash_secret, new_secret
from shoal_hub.tracking.files import check_path, forget_bytes
from shoal_hub.tracking.tables import PartedUpload, UploadedPart

MAX_PARTS: Final = 10_000
"""As S3 takes them, whose limits clients go by."""
LIFE: Final = timedelta(days=1)
"""After so long an upload that nobody has finished is given up."""


@dataclass(frozen=True)
class Begun:
    """An upload that parts may come for, with the secret that is shown once."""

    id: str
    parts: int
    secret: str


def begin_upload(session: Session, store: ArtifactStore, path: str, parts: int, *, by: str, now: datetime) -> Begun:
    """Begin an upload; those that nobody has finished for a day are given up.

    Raises:
        InvalidInputError: The path is none, or there are too many parts.
    """
    if not 1 <= parts <= MAX_PARTS:
        raise InvalidInputError(
            f"uploading {path[:200]!r} in {parts} parts: 1 to {MAX_PARTS} are taken", "send larger parts"
        )
    for old in session.exec(select(PartedUpload).where(col(PartedUpload.created_at) < now - LIFE)).all():
        _end(session, store, old)
    secret = new_secret()
    row = PartedUpload(
        id=new_id("up"),
        path=check_path(path),
        parts=parts,
        secret_sha256=hash_secret(secret),
        created_by=by,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return Begun(row.id, parts, secret)


def check_part(session: Session, upload_id: str, number: int, secret: str) -> PartedUpload:
    """Return an upload, if whoever sends this part may.

    Raises:
        NotFoundError: There is no such upload, or none with so many parts.
        RefusedError: The secret is another.
    """
    row = find_upload(session, upload_id)
    if not compare_digest(row.secret_sha256, hash_secret(secret)):
        raise RefusedError(
            f"the upload {upload_id} is not open to this sender", "send the headers that came with the address"
        )
    if not 1 <= number <= row.parts:
        raise NotFoundError(
            f"the upload {upload_id} has parts 1 to {row.parts}, not {number}", "begin one of more parts"
        )
    return row


def keep_part(session: Session, store: ArtifactStore, row: PartedUpload, number: int, stored: StoredArtifact) -> None:
    """Note a part that has come; one that comes again takes the place of the first."""
    part = session.get(UploadedPart, (row.id, number))
    former = part.sha256 if part is not None else stored.sha256
    part = part or UploadedPart(upload=row.id, number=number, sha256="", size_bytes=0)
    part.sha256, part.size_bytes = stored.sha256, stored.size_bytes
    session.add(part)
    session.flush()
    if former != stored.sha256:
        forget_bytes(session, store, [former])


def find_upload(session: Session, upload_id: str) -> PartedUpload:
    """Return an upload.

    Raises:
        NotFoundError: There is none, or it was finished or given up.
    """
    row = session.get(PartedUpload, upload_id)
    if row is None:
        raise NotFoundError(f"no upload {upload_id[:80]!r} is open", "begin it again")
    return row


def join_parts(
    database: Database, store: ArtifactStore, upload_id: str, tags: Sequence[str], folder: Path
) -> tuple[str, StoredArtifact]:
    """Put an upload's parts together in the store, block by block; return its path and what was stored.

    Args:
        database: Where the upload is noted.
        store: Where the parts are.
        upload_id: Which one.
        tags: What the hub answered to each part, in order: its hash.
        folder: For what arrives, where the store is elsewhere.

    Raises:
        InvalidInputError: A part is missing, or is another than the client knows of.
        NotFoundError: There is no such upload.
    """
    with database.session() as session:
        row = find_upload(session, upload_id)
        parts = session.exec(
            select(UploadedPart).where(UploadedPart.upload == row.id).order_by(col(UploadedPart.number))
        )
        hashes = [part.sha256 for part in parts]
    if hashes != [tag.strip('"') for tag in tags] or len(hashes) != row.parts:
        raise InvalidInputError(
            f"completing {row.path[:200]!r}: {len(hashes)} of {row.parts} parts are here, {len(tags)} were named",
            "send all again",
        )
    with receiving(store, folder) as incoming:
        for sha256 in hashes:
            with store.open(sha256) as part:
                while block := part.read(GATHERED_BYTES):
                    incoming.write(block)
        return row.path, incoming.finish(store)


def end_upload(session: Session, store: ArtifactStore, upload_id: str) -> None:
    """Forget an upload and its parts; one that is not there is left at that."""
    row = session.get(PartedUpload, upload_id)
    if row is not None:
        _end(session, store, row)


def _end(session: Session, store: ArtifactStore, row: PartedUpload) -> None:
    parts = session.exec(select(UploadedPart).where(UploadedPart.upload == row.id)).all()
    hashes = [part.sha256 for part in parts]
    session.delete(row)  # its parts' rows go with it
    session.flush()
    forget_bytes(session, store, hashes)
