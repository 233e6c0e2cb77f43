"""What blobs are uploaded for: each feature that waits for some says which it takes, and keeps them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session

from shoal_contract.telemetry import BlobOffer
from shoal_hub.registry.artifacts import ArtifactStore, store_artifact
from shoal_hub.registry.tables import Artifact
from shoal_hub.transfer.tables import Upload

Refusal = Callable[[Session, str, BlobOffer], str]
"""Says why a device may not upload a blob, or nothing if some feature waits for it."""
Has = Callable[[Session, str, BlobOffer], bool]
"""Whether the hub has a blob already that a device offers."""
Keep = Callable[[Session, Upload, bytes, datetime], str]
"""Keeps a whole blob inside the transaction that settles its upload; returns why it is none, or nothing."""
NOBODY_ASKED: Final = "nobody at this hub waits for such a blob"


@dataclass(frozen=True)
class Purpose:
    """What is done with the blobs of one purpose.

    Attributes:
        refusal: Asked about each offer.
        has: Asked before.
        keep: Given whole blobs.
        is_one_at_a_time: Whether a device's next offer about the same thing says that it sends no earlier one any more.
    """

    refusal: Refusal
    has: Has
    keep: Keep
    is_one_at_a_time: bool = False


def artifact_purpose(store: ArtifactStore, refusal: Refusal) -> Purpose:
    """Return a purpose whose blobs become artifacts: what the hub has as one needs not come again."""

    def has(session: Session, _device_id: str, offer: BlobOffer) -> bool:
        return session.get(Artifact, offer.sha256) is not None

    def keep(session: Session, _upload: Upload, data: bytes, _now: datetime) -> str:
        store_artifact(session, store, data)
        return ""

    return Purpose(refusal, has, keep)
