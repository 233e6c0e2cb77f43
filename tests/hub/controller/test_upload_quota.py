"""What one device may upload, over a real broker: it offers and sends far more than that, and nothing grows with it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select
from tests.simulators.broker import running_broker
from tests.simulators.device import SimulatedDevice
from tests.simulators.hub_threads import Hub, running_hub

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredRound
from shoal_contract.ids import sha256_hex
from shoal_contract.limits import CHUNK_SIZES_BYTES
from shoal_contract.telemetry import BlobOffer
from shoal_hub.database import utc_now
from shoal_hub.devices.intents import set_intent
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.transfer.tables import Upload

CHUNK = CHUNK_SIZES_BYTES[0]
CHUNKS = 3
"""Of each blob; the greedy device sends all but the last, so that what it sends stays on its way."""
OFFERS = 200
BLOBS_IN_FLIGHT = 2
BYTES_IN_FLIGHT = BLOBS_IN_FLIGHT * CHUNKS * CHUNK
REMEMBERED = 65
"""Refusals of one device that the database keeps, with the one that is being made."""
REF = ArtifactRef(sha256="0" * 64, size_bytes=1)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    limits = {"upload_blobs_in_flight": BLOBS_IN_FLIGHT, "upload_bytes_in_flight": BYTES_IN_FLIGHT}
    with running_broker(tmp_path) as broker, running_hub(tmp_path, broker, **limits) as running:
        yield running


def invite(hub: Hub, device: SimulatedDevice) -> None:
    """Open a round for a device: without one, all that it offers is refused for that reason."""
    now = utc_now()
    body = DesiredRound(
        run="f-abcdefgh",
        round=1,
        dataset="colours",
        trainer=REF,
        weights=REF,
        epochs=1,
        batch_size=1,
        learning_rate=0.1,
        max_update_bytes=CHUNKS * CHUNK,
        deadline_at=now + timedelta(hours=1),
    )
    with hub.database.transaction() as session:
        owner = "federated/f-abcdefgh"
        set_intent(session, device.device_id, owner, kind="default", owner=owner, body=body, now=now)


def blob(number: int) -> tuple[BlobOffer, list[bytes]]:
    data = number.to_bytes(4, "big") * (CHUNKS * CHUNK // 4)
    offer = BlobOffer(sha256=sha256_hex(data), size_bytes=len(data), chunk_bytes=CHUNK)
    return offer, [data[index * CHUNK : (index + 1) * CHUNK] for index in range(CHUNKS)]


def uploads_of(session: Session, device: SimulatedDevice) -> list[Upload]:
    return list(session.exec(select(Upload).where(Upload.device_id == device.device_id)))


def is_stored(session: Session, sha256: str, device: SimulatedDevice) -> bool:
    upload = session.get(Upload, (sha256, device.device_id))
    return upload is not None and upload.state == "stored"


def chunks_of(hub: Hub, device: SimulatedDevice, offer: BlobOffer) -> list[Path]:
    """What still lies on the disk of a blob's chunks; a whole blob's go just after it is stored."""
    return [*(hub.settings.data / "uploads").glob(f"{offer.sha256}-{device.device_id}/*")]


def test_a_device_that_sends_without_bound_takes_no_more_than_its_share_and_no_other_is_affected(hub: Hub) -> None:
    greedy, other = hub.add_device(), hub.add_device()
    for device in (greedy, other):
        invite(hub, device)
    for number in range(OFFERS):
        offer, chunks = blob(number)
        greedy.tell(offer)
        for index, chunk in enumerate(chunks[:-1]):
            greedy.send_chunk(offer.sha256, index, chunk)
    # In the middle of that, somebody else has an update of one blob.
    offer, chunks = blob(OFFERS)
    other.tell(offer)
    hub.wait(lambda session: session.get(Upload, (offer.sha256, other.device_id)) is not None)
    for index, chunk in enumerate(chunks):
        other.send_chunk(offer.sha256, index, chunk)
    hub.wait(lambda session: is_stored(session, offer.sha256, other))
    hub.wait(lambda session: session.get_one(Device, greedy.device_id).outbox_sequence == OFFERS)
    for number in range(OFFERS):  # again, now that the hub has answered every offer
        for index, chunk in enumerate(blob(number)[1][:-1]):
            greedy.send_chunk(blob(number)[0].sha256, index, chunk)
    # Its chunks come in their order, so once this one has made a blob whole, all before it were looked at.
    first, chunks = blob(0)
    greedy.send_chunk(first.sha256, CHUNKS - 1, chunks[-1])
    hub.wait(lambda session: is_stored(session, first.sha256, greedy) and not chunks_of(hub, greedy, first))
    with hub.database.session() as session:
        kept = uploads_of(session, greedy)
        told = session.exec(select(EventRow).where(EventRow.kind == "blob_refused")).all()
    states = [one.state for one in kept]
    assert (states.count("credited"), states.count("stored")) == (BLOBS_IN_FLIGHT - 1, 1)
    assert len(kept) <= BLOBS_IN_FLIGHT + REMEMBERED
    on_disk = [file.stat().st_size for file in (hub.settings.data / "uploads").rglob("*") if file.is_file()]
    assert on_disk == [CHUNK] * (CHUNKS - 1), "of the one blob that is still on its way"
    assert len(told) == 1
    assert f"{BLOBS_IN_FLIGHT} blobs are on their way" in told[0].message
