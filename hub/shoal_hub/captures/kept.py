"""The samples that have come: found, read, deleted, and let go when their time is over."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, delete, select

from shoal_contract.captures import split_capture
from shoal_hub.batches.tables import BatchDevice
from shoal_hub.captures.tables import CaptureRow
from shoal_hub.database import Database, announce
from shoal_hub.errors import NotFoundError
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Artifact
from shoal_hub.tracking.tables import TrackedFile, UploadedPart
from shoal_hub.transfer.tables import Upload

log = logging.getLogger(__name__)

BATCH: Final = 200
"""Samples that are deleted in one transaction."""
LOOK_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Which:
    """Which samples; None or empty leaves a field out of account."""

    model: str = ""
    version: int | None = None
    device_id: str = ""


def find_capture(session: Session, capture_id: str) -> CaptureRow:
    """Return a sample.

    Raises:
        NotFoundError: There is none.
    """
    found = session.get(CaptureRow, capture_id)
    if found is None:
        raise NotFoundError(f"no captured sample {capture_id}", "list them: shoal captures list")
    return found


def find_captures(session: Session, which: Which, *, limit: int, offset: int = 0) -> Sequence[CaptureRow]:
    """Return samples, the newest first."""
    wanted = select(CaptureRow).order_by(col(CaptureRow.received_at).desc(), col(CaptureRow.id))
    if which.model:
        wanted = wanted.where(CaptureRow.model == which.model)
    if which.version is not None:
        wanted = wanted.where(CaptureRow.version == which.version)
    if which.device_id:
        wanted = wanted.where(CaptureRow.device_id == which.device_id)
    return session.exec(wanted.limit(limit).offset(offset)).all()


def read_sample(store: ArtifactStore, row: CaptureRow) -> bytes:
    """Return a sample's `.npz`.

    Raises:
        ArtifactError: The store has lost it.
    """
    return split_capture(store.read(row.sha256))[1]


def delete_captures(session: Session, store: ArtifactStore, rows: Sequence[CaptureRow]) -> None:
    """Delete samples, and their bytes where nothing else has the same.

    The bytes go before the transaction is committed: if it fails, a row is left whose sample is lost, and not a sample
    that was to be deleted and that nobody finds any more.
    """
    hashes = {row.sha256 for row in rows}
    ids = [row.id for row in rows]
    session.exec(delete(Upload).where(col(Upload.sha256).in_(hashes), col(Upload.purpose) == "capture"))
    session.exec(delete(CaptureRow).where(col(CaptureRow.id).in_(ids)))
    remove_unnamed(session, store, hashes)
    announce(session, "captures")


def remove_unnamed(session: Session, store: ArtifactStore, hashes: Collection[str]) -> None:
    """Remove bytes that no sample, no answers of a batch job, no file of a run and no artifact name any more."""
    left = set(hashes)
    left.difference_update(session.exec(select(CaptureRow.sha256).where(col(CaptureRow.sha256).in_(hashes))).all())
    left.difference_update(session.exec(select(Artifact.sha256).where(col(Artifact.sha256).in_(hashes))).all())
    answers = select(BatchDevice.result_sha256).where(col(BatchDevice.result_sha256).in_(hashes))
    left.difference_update(one for one in session.exec(answers.where(col(BatchDevice.is_stored))).all() if one)
    for column in (TrackedFile.sha256, UploadedPart.sha256):
        left.difference_update(session.exec(select(column).where(col(column).in_(hashes))).all())
    for sha256 in left:
        store.remove(sha256)


class CapturePruner:
    """Deletes samples that the hub has had for longer than it keeps them.

    Args:
        database: Where their rows are.
        store: Where their bytes are.
        retention: How long they are kept, by the hub's clock.
    """

    def __init__(self, database: Database, store: ArtifactStore, retention: timedelta) -> None:
        self._database = database
        self._store = store
        self._retention = retention
        self._looked_at: datetime | None = None

    def step(self, now: datetime) -> int:
        """Delete some of the samples whose time is over, the oldest first, and return how many."""
        if self._looked_at is not None and abs(now - self._looked_at) < LOOK_EVERY:
            return 0
        is_due = col(CaptureRow.received_at) < now - self._retention
        with self._database.session() as session:
            if session.exec(select(CaptureRow.id).where(is_due).limit(1)).first() is None:
                self._looked_at = now
                return 0
        with self._database.transaction() as session:
            due = session.exec(
                select(CaptureRow).where(is_due).order_by(col(CaptureRow.received_at)).limit(BATCH)
            ).all()
            delete_captures(session, self._store, due)
        self._looked_at = now if len(due) < BATCH else None
        log.info("%d captured samples are deleted: they were kept for their time", len(due))
        return len(due)
