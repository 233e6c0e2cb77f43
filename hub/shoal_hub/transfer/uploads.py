"""Blobs that devices upload: accepted or refused, kept chunk by chunk, checked as a whole, given to who waits for them.

Chunks lie in `uploads/<sha256>-<device>/<index>` until the blob is whole, so a restart of the hub loses none.
"""

import logging
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select as select_columns
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, delete, func, select

from shoal_contract.ack import BlobAnswer
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import CHUNK_SIZES_BYTES, MAX_BLOB_BYTES
from shoal_contract.telemetry import BlobOffer
from shoal_hub.bulk import Query
from shoal_hub.database import Database, announce
from shoal_hub.devices.revocation import revoked_among
from shoal_hub.errors import TooManyRequestsError
from shoal_hub.events.record import record_event
from shoal_hub.requests import RateLimit
from shoal_hub.transfer.purposes import NOBODY_ASKED, Purpose
from shoal_hub.transfer.quota import DAY, Quota, beyond, counted_bytes, use_of
from shoal_hub.transfer.tables import Upload

log = logging.getLogger(__name__)

WORDS: Final = {"federated_update": "federated", "capture": "captures", "batch_result": "batches"}
"""What is announced when a blob has come, by its purpose."""
_STORED: Final = BlobAnswer(state="stored")
_SETTLED_SHOWN: Final = 64
_GIVEN_UP: Final = "the device has offered another one in its place"
_SPELL: Final = timedelta(hours=1)
"""Refusals of one device that are less apart than this are one event."""


class Uploads:
    """The uploads of one hub.

    Args:
        database: Keeps what was offered.
        folder: Where chunks wait.
        purposes: Who is asked about each offer that the limits allow, and gets whole blobs, by their purpose.
        quota: What one device may send.
    """

    def __init__(self, database: Database, folder: Path, purposes: Mapping[str, Purpose], quota: Quota) -> None:
        self._database = database
        self._folder = folder
        self._purposes = purposes
        self._quota = quota
        self._chunk_rate = RateLimit(quota.chunks_per_s * 60, "chunks", "SHOAL_UPLOAD_CHUNKS_PER_S")

    def offer(self, session: Session, device_id: str, offer: BlobOffer, now: datetime) -> None:
        """Note an offer and the answer to it, inside the transaction that commits the offer."""
        upload = session.get(Upload, (offer.sha256, device_id)) or Upload(
            sha256=offer.sha256,
            device_id=device_id,
            size_bytes=0,
            chunk_bytes=0,
            purpose=offer.purpose,
            state="refused",
            changed_at=now,
        )
        if upload.changed_at <= now - DAY:
            upload.received_bytes = 0
        upload.size_bytes, upload.chunk_bytes, upload.changed_at = offer.size_bytes, offer.chunk_bytes, now
        upload.purpose, upload.about = offer.purpose, offer.about or ""
        purpose = self._purposes.get(offer.purpose)
        if purpose is not None and purpose.has(session, device_id, offer):
            upload.state, upload.reason = "stored", ""
        else:
            if purpose is not None and purpose.is_one_at_a_time:
                self._end_earlier(session, upload, now)
            used = use_of(session, device_id, now, offered=offer.sha256)
            upload.reason = (
                _limits(offer) or beyond(self._quota, used, offer) or self._refusal_of(session, device_id, offer)
            )
            upload.state = "refused" if upload.reason else "credited"
        if upload.state == "refused":
            _tell_refused(session, upload, now)
            self._drop_chunks(upload)
        session.add(upload)

    def chunk(self, device_id: str, sha256: str, index: int, data: bytes, now: datetime) -> BlobAnswer | None:
        """Keep one chunk; return an answer once that settles the blob, None while more has to come.

        A chunk that nobody gave credit for, of a revoked device, of the wrong size or beyond the device's rate is
        dropped; what is missing is asked for again once the device has been still for a while.
        """
        try:
            self._chunk_rate.take(device_id, f"device {device_id}")
        except TooManyRequestsError:
            return None
        with self._database.session() as session:
            upload = session.get(Upload, (sha256, device_id))
            is_revoked = bool(revoked_among(session, [device_id]))
        if upload is None or is_revoked or upload.state != "credited" or len(data) != _size_of(upload, index):
            return None
        folder = self._chunks_of(upload)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{index}.part"
        part.write_bytes(data)
        part.replace(folder / str(index))
        return None if self._missing(upload) else self._finish(upload, now)

    def answers(self, session: Session, device_id: str) -> dict[str, BlobAnswer]:
        """Return what to tell a device about its latest uploads, besides those that it has given up."""
        its = select(Upload).where(Upload.device_id == device_id, Upload.reason != _GIVEN_UP)
        wanted = its.order_by(col(Upload.changed_at).desc())
        return {upload.sha256: self._answer(upload) for upload in session.exec(wanted.limit(_SETTLED_SHOWN)).all()}

    def idle(self, since: datetime, now: datetime) -> list[str]:
        """Return devices with a credited upload on which nothing has happened since, and count this as happening.

        A blob that nobody waits for any more is refused instead: its device would be asked for ever.
        """
        wanted = select(Upload).where(_IS_CREDITED, col(Upload.changed_at) < since)
        with self._database.session() as session:
            found = session.exec(wanted).all() if _ANY_CREDITED.rows(session) else []
            rows = [row for row in found if self._last_chunk_at(row) < since.timestamp()]
        if rows:
            with self._database.transaction() as session:
                for row in rows:
                    row.reason, row.changed_at = self._refusal_of(session, row.device_id, _offer_of(row)), now
                    row.state = "refused" if row.reason else "credited"
                    if row.reason:
                        self._drop_chunks(row)
                    session.merge(row)
        return sorted({row.device_id for row in rows})

    def _end_earlier(self, session: Session, upload: Upload, now: datetime) -> None:
        """End what the device has begun to send of the same thing: it would be asked for it for ever."""
        its = select(Upload).where(
            _IS_CREDITED,
            Upload.device_id == upload.device_id,
            Upload.purpose == upload.purpose,
            Upload.about == upload.about,
            Upload.sha256 != upload.sha256,
        )
        for earlier in session.exec(its).all():
            self._drop_chunks(earlier)
            earlier.state, earlier.reason, earlier.changed_at = "refused", _GIVEN_UP, now
            session.add(earlier)
        session.flush()
        _forget_refused(session, upload, now)

    def _drop_chunks(self, upload: Upload) -> None:
        """Delete what has come of a blob; the device's quota has it all the same."""
        folder = self._chunks_of(upload)
        came_bytes = sum(one.stat().st_size for one in folder.iterdir()) if folder.exists() else 0
        upload.received_bytes += counted_bytes(came_bytes) if came_bytes else 0
        shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, upload: Upload, now: datetime) -> BlobAnswer:
        folder = self._chunks_of(upload)
        data = b"".join((folder / str(index)).read_bytes() for index in range(_chunk_count(upload)))
        found = sha256_hex(data)
        with self._database.transaction() as session:
            row = session.get_one(Upload, (upload.sha256, upload.device_id))
            row.changed_at, row.received_bytes = now, row.received_bytes + counted_bytes(row.size_bytes)
            if found != upload.sha256:
                row.reason = f"its bytes have the hash {found[:12]}, {upload.sha256[:12]} was offered"
            else:
                row.reason = self._keep(session, row, data, now)
            row.state = "refused" if row.reason else "stored"
            if row.reason:
                _tell_refused(session, row, now)
            session.add(row)
            announce(session, WORDS.get(row.purpose, row.purpose))
        shutil.rmtree(folder, ignore_errors=True)
        return self._answer(row)

    def _keep(self, session: Session, upload: Upload, data: bytes, now: datetime) -> str:
        """Give a whole blob to who waits for it; one that they fail at is refused: sent again, it would fail again."""
        purpose = self._purposes.get(upload.purpose)
        if purpose is None:
            return NOBODY_ASKED
        try:
            with session.begin_nested():
                return purpose.keep(session, upload, data, now)
        except (SQLAlchemyError, OSError):
            raise  # of the database or the disk, which may pass
        except Exception as error:
            log.exception("keeping %s of %s failed; it is refused", upload.sha256[:12], upload.device_id)
            return f"the hub failed at it: {type(error).__name__}"

    def _refusal_of(self, session: Session, device_id: str, offer: BlobOffer) -> str:
        purpose = self._purposes.get(offer.purpose)
        return NOBODY_ASKED if purpose is None else purpose.refusal(session, device_id, offer)

    def _answer(self, upload: Upload) -> BlobAnswer:
        if upload.state == "stored":
            return _STORED
        if upload.state == "refused":
            return BlobAnswer(state="refused", reason=upload.reason[:256])
        return BlobAnswer(state="credit", missing=tuple(self._missing(upload)[:4096]))

    def _missing(self, upload: Upload) -> list[int]:
        folder = self._chunks_of(upload)
        return [index for index in range(_chunk_count(upload)) if not (folder / str(index)).exists()]

    def _last_chunk_at(self, upload: Upload) -> float:
        folder = self._chunks_of(upload)
        return folder.stat().st_mtime if folder.exists() else 0.0

    def _chunks_of(self, upload: Upload) -> Path:
        return self._folder / f"{upload.sha256}-{upload.device_id}"


_IS_CREDITED: Final = col(Upload.state) == "credited"
_ANY_CREDITED: Final = Query(select_columns(col(Upload.sha256)).where(_IS_CREDITED).limit(1))


def _tell_refused(session: Session, upload: Upload, now: datetime) -> None:
    """Record that a device is refused, once for a spell of refusals, and forget its older ones."""
    of_device = (Upload.device_id == upload.device_id, Upload.state == "refused", Upload.sha256 != upload.sha256)
    latest: datetime | None = session.exec(
        select(func.max(Upload.changed_at)).where(*of_device, Upload.reason != _GIVEN_UP)
    ).one()
    if latest is None or latest < now - _SPELL:
        text = f"the upload of {upload.sha256[:12]} by {upload.device_id} was refused: {upload.reason}"
        record_event(session, "blob_refused", text, device_id=upload.device_id, severity="warning")
    _forget_refused(session, upload, now)


def _forget_refused(session: Session, upload: Upload, now: datetime) -> None:
    """Forget a device's older refusals, besides this upload, but not what they count for in its quota.

    A device can offer as often as it likes: what that costs the database does not grow with it.
    """
    of_device = (Upload.device_id == upload.device_id, Upload.state == "refused", Upload.sha256 != upload.sha256)
    kept = select(Upload.sha256).where(*of_device).order_by(col(Upload.changed_at).desc()).limit(_SETTLED_SHOWN)
    is_forgotten = (col(Upload.received_bytes) == 0) | (col(Upload.changed_at) < now - DAY)
    session.exec(delete(Upload).where(*of_device, is_forgotten, col(Upload.sha256).not_in(kept)))  # type: ignore[arg-type]


def _limits(offer: BlobOffer) -> str:
    if offer.size_bytes > MAX_BLOB_BYTES:
        return f"{offer.size_bytes} bytes offered, at most {MAX_BLOB_BYTES} are taken"
    if offer.chunk_bytes not in CHUNK_SIZES_BYTES:
        return f"chunks of {offer.chunk_bytes} bytes offered, one of {CHUNK_SIZES_BYTES} is taken"
    return ""


def _offer_of(upload: Upload) -> BlobOffer:
    return BlobOffer.model_validate(
        {
            "sha256": upload.sha256,
            "size_bytes": upload.size_bytes,
            "chunk_bytes": upload.chunk_bytes,
            "purpose": upload.purpose,
            "about": upload.about or None,
        }
    )


def _chunk_count(upload: Upload) -> int:
    return -(-upload.size_bytes // upload.chunk_bytes)


def _size_of(upload: Upload, index: int) -> int:
    """Return the bytes that chunk `index` must have, -1 where there is no such chunk."""
    if index >= _chunk_count(upload):
        return -1
    return min(upload.chunk_bytes, upload.size_bytes - index * upload.chunk_bytes)
