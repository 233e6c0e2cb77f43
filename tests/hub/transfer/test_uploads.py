"""Blobs that devices upload: asked for, kept in parts, checked as a whole."""

from datetime import timedelta
from pathlib import Path

import pytest
from tests.simulators.rows import NOON, add_device

from shoal_contract.ids import sha256_hex
from shoal_contract.limits import CHUNK_SIZES_BYTES, MAX_BLOB_BYTES
from shoal_contract.telemetry import BlobOffer
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.transfer.uploads import Uploads

CHUNK = CHUNK_SIZES_BYTES[0]
DATA = bytes(range(256)) * 160  # two chunks and a half
SHA = sha256_hex(DATA)
OFFER = BlobOffer(sha256=SHA, size_bytes=len(DATA), chunk_bytes=CHUNK)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture
def uploads(database: Database, store: ArtifactStore, tmp_path: Path) -> Uploads:
    return Uploads(database, store, tmp_path / "uploads", lambda *_: "")


@pytest.fixture
def device_id(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session).id


def _offer(
    uploads: Uploads, database: Database, device_id: str, offer: BlobOffer = OFFER
) -> tuple[str, tuple[int, ...]]:
    with database.transaction() as session:
        uploads.offer(session, device_id, offer, NOON)
        session.flush()
        answer = uploads.answers(session, device_id)[offer.sha256]
    return answer.state, answer.missing


def _chunk(index: int) -> bytes:
    return DATA[index * CHUNK : (index + 1) * CHUNK]


def test_a_blob_is_stored_when_its_last_chunk_has_come(
    uploads: Uploads, database: Database, store: ArtifactStore, device_id: str
) -> None:
    assert _offer(uploads, database, device_id) == ("credit", (0, 1, 2))
    assert uploads.chunk(device_id, SHA, 2, _chunk(2), NOON) is None
    assert uploads.chunk(device_id, SHA, 0, _chunk(0), NOON) is None
    answer = uploads.chunk(device_id, SHA, 1, _chunk(1), NOON)
    assert answer is not None
    assert answer.state == "stored"
    assert store.read(SHA) == DATA


def test_an_offer_again_asks_only_for_what_is_missing_also_after_a_restart(
    uploads: Uploads, database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    _offer(uploads, database, device_id)
    uploads.chunk(device_id, SHA, 1, _chunk(1), NOON)
    again = Uploads(database, store, tmp_path / "uploads", lambda *_: "")
    assert _offer(again, database, device_id) == ("credit", (0, 2))


def test_what_the_hub_has_is_not_sent_again(uploads: Uploads, database: Database, device_id: str) -> None:
    _offer(uploads, database, device_id)
    for index in range(3):
        uploads.chunk(device_id, SHA, index, _chunk(index), NOON)
    assert _offer(uploads, database, device_id) == ("stored", ())


def test_bytes_that_are_not_what_was_offered_are_thrown_away(
    uploads: Uploads, database: Database, store: ArtifactStore, device_id: str
) -> None:
    _offer(uploads, database, device_id)
    for index in (0, 1):
        uploads.chunk(device_id, SHA, index, _chunk(index), NOON)
    answer = uploads.chunk(device_id, SHA, 2, b"\xff" * len(_chunk(2)), NOON)
    assert answer is not None
    assert (answer.state, store.has(SHA)) == ("refused", False)


@pytest.mark.parametrize(("index", "size"), [(0, 3), (2, CHUNK), (3, 10), (3, 0)])
def test_a_chunk_of_the_wrong_size_or_place_is_dropped(
    uploads: Uploads, database: Database, device_id: str, index: int, size: int
) -> None:
    _offer(uploads, database, device_id)
    assert uploads.chunk(device_id, SHA, index, b"x" * size, NOON) is None
    assert _offer(uploads, database, device_id) == ("credit", (0, 1, 2))


def test_a_chunk_without_an_offer_is_dropped(uploads: Uploads, device_id: str, tmp_path: Path) -> None:
    assert uploads.chunk(device_id, SHA, 0, _chunk(0), NOON) is None
    assert not (tmp_path / "uploads").exists()


def test_one_devices_chunks_do_not_count_for_anothers_blob(
    uploads: Uploads, database: Database, device_id: str
) -> None:
    with database.transaction() as session:
        other = add_device(session).id
    _offer(uploads, database, device_id)
    _offer(uploads, database, other)
    uploads.chunk(device_id, SHA, 0, _chunk(0), NOON)
    assert _offer(uploads, database, other) == ("credit", (0, 1, 2))


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        (OFFER.model_copy(update={"size_bytes": MAX_BLOB_BYTES + 1}), "at most"),
        (OFFER.model_copy(update={"chunk_bytes": 7}), "chunks of 7 bytes"),
    ],
)
def test_an_offer_beyond_the_limits_is_refused_with_the_reason(
    uploads: Uploads, database: Database, device_id: str, offer: BlobOffer, reason: str
) -> None:
    with database.transaction() as session:
        uploads.offer(session, device_id, offer, NOON)
        session.flush()
        answer = uploads.answers(session, device_id)[SHA]
    assert answer.state == "refused"
    assert reason in answer.reason


def test_an_offer_that_nobody_waits_for_is_refused(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    uploads = Uploads(database, store, tmp_path / "uploads", lambda *_: "no round is open")
    assert _offer(uploads, database, device_id)[0] == "refused"
    assert uploads.chunk(device_id, SHA, 0, _chunk(0), NOON) is None


def test_a_device_that_stopped_sending_is_asked_again_but_not_all_the_time(
    uploads: Uploads, database: Database, device_id: str
) -> None:
    _offer(uploads, database, device_id)
    later = NOON + timedelta(seconds=10)
    assert uploads.idle(later - timedelta(seconds=5), later) == [device_id]
    assert uploads.idle(later - timedelta(seconds=5), later) == []


def test_a_credit_that_nobody_waits_for_any_more_ends(
    database: Database, store: ArtifactStore, tmp_path: Path, device_id: str
) -> None:
    reasons = [""]
    uploads = Uploads(database, store, tmp_path / "uploads", lambda *_: reasons[0])
    _offer(uploads, database, device_id)
    uploads.chunk(device_id, SHA, 0, _chunk(0), NOON)
    reasons[0] = "no federated round is open for this device"
    later = utc_now() + timedelta(hours=1)

    assert uploads.idle(later, later) == [device_id]

    with database.session() as session:
        answer = uploads.answers(session, device_id)[SHA]
    assert (answer.state, answer.reason) == ("refused", reasons[0])
    assert list((tmp_path / "uploads").iterdir()) == []
    assert uploads.idle(later + timedelta(hours=1), later + timedelta(hours=1)) == []


def test_a_chunk_of_a_device_that_was_revoked_in_the_middle_is_dropped(
    uploads: Uploads, database: Database, device_id: str
) -> None:
    _offer(uploads, database, device_id)
    with database.transaction() as session:
        revoke(session, session.get_one(Device, device_id), by="ada", reason="", now=NOON)
    assert [uploads.chunk(device_id, SHA, index, _chunk(index), NOON) for index in range(3)] == [None] * 3
    with database.session() as session:
        assert uploads.answers(session, device_id)[SHA].missing == (0, 1, 2)
