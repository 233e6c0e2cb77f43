"""Samples as devices send them."""

import io
from typing import Any

import numpy as np
from sqlmodel import Session
from tests.simulators.rows import NOON

from shoal_contract.captures import CaptureRecord, pack_capture
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import DEFAULT_CHUNK_BYTES
from shoal_contract.telemetry import BlobOffer
from shoal_hub.captures.tables import CaptureRow
from shoal_hub.ids import new_ids
from shoal_hub.registry.artifacts import ArtifactStore

X = np.array(0.5, dtype=np.float32)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def packed(number: int = 0, content: bytes | None = None, **changes: Any) -> bytes:
    """Return a sample of version 1 of the model that `add_version` adds."""
    fields: dict[str, Any] = {
        "name": f"{1_772_366_400_000 + number}-0a1b2c3d",
        "model": "digits",
        "version": 1,
        "request_id": "r-1",
        "at": NOON,
        "reasons": ("random",),
    }
    return pack_capture(CaptureRecord(**(fields | changes)), npz(x=X) if content is None else content)


def add_capture(session: Session, store: ArtifactStore, device_id: str, **changes: Any) -> CaptureRow:
    """Add a sample as ingest would."""
    stored = store.put(packed())
    fields: dict[str, Any] = {
        "id": new_ids("cp", 1)[0],
        "device_id": device_id,
        "name": "1772366400000-0a1b2c3d",
        "model": "digits",
        "version": 1,
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "request_id": "r-1",
        "sample": 0,
        "at": NOON,
        "reasons": ["random"],
        "received_at": NOON,
    }
    row = CaptureRow(**(fields | changes))
    session.add(row)
    session.flush()
    return row


def offer_of(data: bytes, about: str | None = "digits") -> BlobOffer:
    return BlobOffer(
        sha256=sha256_hex(data), size_bytes=len(data), chunk_bytes=DEFAULT_CHUNK_BYTES, purpose="capture", about=about
    )
