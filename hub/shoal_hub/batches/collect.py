"""Takes in how jobs ended on devices, and their answers; part of ingest."""

from datetime import datetime

from sqlmodel import Session, col, func, select

from shoal_contract.batch_jobs import BatchResult
from shoal_contract.telemetry import BlobOffer
from shoal_hub.batches.tables import Batch, BatchDevice
from shoal_hub.database import announce
from shoal_hub.devices.revocation import revoked_among
from shoal_hub.events.record import record_event
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.transfer.purposes import Purpose
from shoal_hub.transfer.room import Room
from shoal_hub.transfer.tables import Upload


def take_batch_result(session: Session, device_id: str, result: BatchResult, now: datetime) -> None:
    """Keep how a job ended on a device; a repeated, late or uninvited word is dropped, the last with an event."""
    row = session.get(BatchDevice, (result.batch, device_id))
    if row is None:
        text = f"{device_id} told the end of a batch job {result.batch}, which it was not given"
        record_event(session, "batch_uninvited", text, device_id=device_id, severity="warning")
        return
    if row.outcome != "open":
        return
    row.outcome, row.version, row.ended_at = result.outcome, result.version, now
    row.answered, row.rejected, row.duration_s = result.answered, result.rejected, result.duration_s
    row.result_bytes, row.result_sha256 = result.result_bytes, result.result_sha256
    row.problem = None if result.problem is None else result.problem.model_dump(mode="json")
    session.add(row)
    announce(session, "batches")


def batch_purpose(store: ArtifactStore, max_bytes: int) -> Purpose:
    """Return what uploads of answers are taken for: a device may send those that it has told of, once.

    Args:
        store: Where their bytes go.
        max_bytes: What all answers of the fleet may take at the hub.
    """
    room = Room(max_bytes, "SHOAL_BATCH_ANSWERS_MAX_BYTES", _kept_bytes)

    def refusal(session: Session, device_id: str, offer: BlobOffer) -> str:
        if revoked_among(session, [device_id]):
            return "the device was revoked"
        row, batch = _row(session, device_id, offer.about), session.get(Batch, offer.about or "")
        if row is None or batch is None or row.result_sha256 != offer.sha256:
            return f"the device has told of no such answers of a batch job {offer.about}"
        most = int(batch.body["max_result_bytes"])
        if offer.size_bytes > most:
            return f"{offer.size_bytes} bytes offered, the batch job takes at most {most}"
        return room.refusal(session, offer.size_bytes)

    def has(session: Session, device_id: str, offer: BlobOffer) -> bool:
        row = _row(session, device_id, offer.about)
        return row is not None and row.is_stored and row.result_sha256 == offer.sha256

    def keep(session: Session, upload: Upload, data: bytes, _now: datetime) -> str:
        row = _row(session, upload.device_id, upload.about)
        if row is None:
            return "the batch job is not there any more"
        if reason := room.refusal(session, upload.size_bytes):
            return reason
        store.put(data)
        room.add(upload.size_bytes)
        row.is_stored, row.result_bytes = True, upload.size_bytes
        session.add(row)
        return ""

    return Purpose(refusal, has, keep, is_one_at_a_time=True)


def _kept_bytes(session: Session) -> int:
    kept = select(func.coalesce(func.sum(BatchDevice.result_bytes), 0)).where(col(BatchDevice.is_stored))
    return int(session.exec(kept).one())


def _row(session: Session, device_id: str, batch: str | None) -> BatchDevice | None:
    return session.get(BatchDevice, (batch or "", device_id))
