"""Which windows have come before: a broker may have a device say one again, under another place in its outbox."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import String, bindparam
from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_hub.bulk import Query
from shoal_hub.database import as_texts, is_among
from shoal_hub.monitoring.tables import WindowRow

_DEVICE_DIGITS: Final = 8
_DIGITS: Final = 32


def digest_of(
    device_id: str,
    model: str,
    version: int,
    started_at: datetime,
    numbers: tuple[int, int, int],
    counts: Sequence[bytes],
) -> str:
    """Return what a window of a device is known by: hexadecimal digits, the first of which are the device's.

    The time alone does not tell windows apart, as a clock may stand still. Windows of one device lie together in the
    index, so that the hub writes few of its pages.

    Args:
        device_id: The device.
        model: The model.
        version: Its version.
        started_at: When the window began.
        numbers: Its requests, and the labelled and the correct samples.
        counts: Packed, of the features and of the missing values, and what else it counts.
    """
    told = (device_id, model, version, started_at.astimezone(UTC).isoformat(), *numbers, len(counts[0]))
    hashed = hashlib.sha256(repr(told).encode())
    for one in counts:
        hashed.update(one)
    return _device_digits(device_id) + hashed.hexdigest()[:_DIGITS]


def known_digests(session: Session, digests: Iterable[str]) -> set[str]:
    """Return those of some digests under which a window is kept."""
    return {digest for (digest,) in _KNOWN.rows(session, digests=as_texts(digests))}


@lru_cache(maxsize=4096)
def _device_digits(device_id: str) -> str:
    return hashlib.sha256(device_id.encode()).hexdigest()[:_DEVICE_DIGITS]


_COLUMNS: Final[list[Any]] = [col(WindowRow.digest)]
_KNOWN: Final = Query(
    select_columns(*_COLUMNS).where(is_among(col(WindowRow.digest), bindparam("digests", type_=String())))
)
