"""How much one device may upload: bytes a day, bytes and blobs in flight, chunks a second. Pure but for one query."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, case, col, func, select
from typing_extensions import Self

from shoal_contract.limits import CHUNK_SIZES_BYTES
from shoal_contract.telemetry import BlobOffer
from shoal_hub.settings import Settings
from shoal_hub.transfer.tables import Upload

DAY: Final = timedelta(days=1)
_LEAST_BYTES: Final = CHUNK_SIZES_BYTES[0]
"""What a blob counts for at least: a million blobs of one byte are not a megabyte of work."""


@dataclass(frozen=True)
class Quota:
    """The bounds of each device."""

    bytes_per_day: int
    bytes_in_flight: int
    blobs_in_flight: int
    chunks_per_s: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the hub's settings allow."""
        return cls(
            settings.upload_bytes_per_day,
            settings.upload_bytes_in_flight,
            settings.upload_blobs_in_flight,
            settings.upload_chunks_per_s,
        )


@dataclass(frozen=True)
class Used:
    """What a device has on the way, and what it sent in the last day; blobs that came to nothing count as well."""

    bytes_today: int
    bytes_in_flight: int
    blobs_in_flight: int


def counted_bytes(size_bytes: int) -> int:
    """Return what a blob counts for."""
    return max(size_bytes, _LEAST_BYTES)


def use_of(session: Session, device_id: str, now: datetime, *, offered: str) -> Used:
    """Return what a device uses, and has used for a blob that it offers, but not what that is to take now."""
    is_open = col(Upload.state) == "credited"
    is_on_its_way = is_open & (col(Upload.sha256) != offered)
    counted = case((col(Upload.size_bytes) < _LEAST_BYTES, _LEAST_BYTES), else_=col(Upload.size_bytes))
    wanted = select(
        func.coalesce(func.sum(Upload.received_bytes), 0),
        func.coalesce(func.sum(case((is_on_its_way, counted), else_=0)), 0),
        func.coalesce(func.sum(case((is_on_its_way, 1), else_=0)), 0),
    ).where(Upload.device_id == device_id, is_open | (col(Upload.changed_at) > now - DAY))
    received_bytes, open_bytes, blobs = session.exec(wanted).one()
    return Used(int(received_bytes) + int(open_bytes), int(open_bytes), int(blobs))


def beyond(quota: Quota, used: Used, offer: BlobOffer) -> str:
    """Return why an offer does not fit into a device's quota, nothing if it does."""
    size_bytes = counted_bytes(offer.size_bytes)
    open_bytes, day_bytes = used.bytes_in_flight + size_bytes, used.bytes_today + size_bytes
    if used.blobs_in_flight >= quota.blobs_in_flight:
        return f"{used.blobs_in_flight} blobs are on their way already, at most {quota.blobs_in_flight} may be at once"
    if open_bytes > quota.bytes_in_flight:
        return f"with it {open_bytes} bytes would be on their way, at most {quota.bytes_in_flight} may be at once"
    if day_bytes > quota.bytes_per_day:
        return f"with it {day_bytes} bytes would come within a day, at most {quota.bytes_per_day} are taken"
    return ""
