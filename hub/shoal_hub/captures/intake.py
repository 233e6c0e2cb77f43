"""Which samples devices may upload, and what becomes of one that has come; part of ingest."""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, func, select

from shoal_contract.captures import CaptureRecord, DesiredCapture, DesiredCaptures, split_capture
from shoal_contract.errors import MessageError
from shoal_contract.limits import MAX_CAPTURE_BYTES
from shoal_contract.telemetry import BlobOffer
from shoal_hub.captures.content import why_no_sample
from shoal_hub.captures.kept import remove_unnamed
from shoal_hub.captures.tables import CaptureRow
from shoal_hub.database import utc_now
from shoal_hub.devices.compose import CAPTURES
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.revocation import revoked_among
from shoal_hub.ids import new_ids
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Version
from shoal_hub.transfer.purposes import Purpose
from shoal_hub.transfer.room import Room
from shoal_hub.transfer.tables import Upload

_DAY: Final = timedelta(days=1)
_SLACK: Final = 2
"""A day of UTC at a device and a day before now overlap with two of them: in one it may send twice its share."""
_FIXED: Final = {"name", "model", "version", "request_id", "sample", "at", "label", "confidence"}


class CaptureIntake:
    """Takes samples.

    Args:
        store: Where their bytes go.
        max_bytes: What all samples of the fleet may take at the hub.
    """

    def __init__(self, store: ArtifactStore, max_bytes: int) -> None:
        self._store = store
        self._room = Room(max_bytes, "SHOAL_CAPTURES_MAX_BYTES", _kept_bytes)

    @property
    def purpose(self) -> Purpose:
        """What the uploads ask and tell."""
        return Purpose(self.refusal, self.has, self.keep, is_one_at_a_time=True)

    def refusal(self, session: Session, device_id: str, offer: BlobOffer) -> str:
        """Return why a device may not upload a sample, or nothing if it may: somebody must have asked this device."""
        if revoked_among(session, [device_id]):
            return "the device was revoked"
        wanted = _asked(session, device_id)
        asked = wanted.models.get(offer.about or "") if wanted else None
        if asked is None:
            return f"samples of {offer.about or 'no model'} are not asked for"
        if offer.size_bytes > MAX_CAPTURE_BYTES:
            return f"{offer.size_bytes} bytes offered, at most {MAX_CAPTURE_BYTES} are taken of a sample"
        return _beyond_day(session, device_id, offer, asked) or self._room.refusal(session, offer.size_bytes)

    def has(self, session: Session, device_id: str, offer: BlobOffer) -> bool:
        """Whether this very sample of the device is there."""
        its = select(CaptureRow.id).where(CaptureRow.device_id == device_id, CaptureRow.sha256 == offer.sha256)
        return session.exec(its).first() is not None

    def keep(self, session: Session, upload: Upload, data: bytes, now: datetime) -> str:
        """Keep a sample, in the place of one that the device has sent of it before; return why it is none."""
        try:
            record, sample = split_capture(data)
        except MessageError as error:
            return str(error)
        if record.model != upload.about:
            return f"it is of the model {record.model}, one of {upload.about} was offered"
        versions = select(Version).where(Version.model == record.model, Version.number == record.version)
        version = session.exec(versions).first()
        if version is None:
            return f"it is of version {record.version} of {record.model}, which this hub does not know"
        is_batched = version.batching is None
        reason = why_no_sample(sample, version.inputs, MAX_CAPTURE_BYTES, is_batched=is_batched)
        if reason:
            return reason
        its = select(CaptureRow).where(CaptureRow.device_id == upload.device_id, CaptureRow.name == record.name)
        row = session.exec(its).first()
        more_bytes = upload.size_bytes - (row.size_bytes if row else 0)
        if reason := self._room.refusal(session, more_bytes):
            return reason
        self._keep(session, upload, data, record, row, now)
        self._room.add(more_bytes)
        return ""

    def _keep(
        self,
        session: Session,
        upload: Upload,
        data: bytes,
        record: CaptureRecord,
        row: CaptureRow | None,
        now: datetime,
    ) -> None:
        self._store.put(data)
        row = row or CaptureRow(
            id=new_ids("cp", 1)[0], device_id=upload.device_id, sha256="", **record.model_dump(include=_FIXED)
        )
        former = {row.sha256} if row.sha256 else set()
        row.reasons, row.true_label = list(record.reasons), record.true_label
        row.sha256, row.size_bytes, row.received_at = upload.sha256, upload.size_bytes, now
        session.add(row)
        session.flush()
        remove_unnamed(session, self._store, former)


def _kept_bytes(session: Session) -> int:
    return int(session.exec(select(func.coalesce(func.sum(CaptureRow.size_bytes), 0))).one())


def _beyond_day(session: Session, device_id: str, offer: BlobOffer, asked: DesiredCapture) -> str:
    recent = select(func.count(), func.coalesce(func.sum(CaptureRow.size_bytes), 0)).where(
        CaptureRow.device_id == device_id,
        CaptureRow.model == offer.about,
        col(CaptureRow.received_at) > utc_now() - _DAY,
    )
    samples, size_bytes = session.exec(recent).one()
    if samples >= _SLACK * asked.max_samples_per_day:
        return f"{samples} samples came within a day, {asked.max_samples_per_day} are asked for"
    if int(size_bytes) + offer.size_bytes > _SLACK * asked.max_bytes_per_day:
        return f"{size_bytes} bytes came within a day, {asked.max_bytes_per_day} are asked for"
    return ""


def _asked(session: Session, device_id: str) -> DesiredCaptures | None:
    """Return what is asked of a device."""
    wanted = intents_of(session, device_id, CAPTURES)
    return DesiredCaptures.model_validate(wanted[-1].body) if wanted else None
