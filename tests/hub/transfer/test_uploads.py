"""Blobs that devices upload: asked for, kept in parts, checked as a whole."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select
from tests.simulators.rows import NOON, add_device

from shoal_contract.ids import sha256_hex
from shoal_contract.limits import CHUNK_SIZES_BYTES, MAX_BLOB_BYTES
from shoal_contract.telemetry import BlobOffer
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.settings import Settings
from shoal_hub.transfer.purposes import Purpose, Refusal, artifact_purpose
from shoal_hub.transfer.quota import Quota
from shoal_hub.transfer.tables import Upload
from shoal_hub.transfer.uploads import Uploads

CHUNK = CHUNK_SIZES_BYTES[0]
DATA = bytes(range(256)) * 160  # two chunks and a half
SHA = sha256_hex(DATA)
QUOTA = Quota.of(Settings())
OFFER = BlobOffer(sha256=SHA, size_bytes=len(DATA), chunk_bytes=CHUNK)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "artifacts"))


@pytest.fixture
def uploads(database: Database, store: ArtifactStore, tmp_path: Path) -> Uploads:
    return Uploads(database, tmp_path / "uploads", _purposes(store), QUOTA)


@pytest.fixture
def device_id(database: Database) -> str:
    with database.transaction() as session:
        return add_device(session).id


def _purposes(store: ArtifactStore, refusal: Refusal = lambda *_: "") -> dict[str, Purpose]:
    return {"federated_update": artifact_purpose(store, refusal)}


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
    again = Uploads(database, tmp_path / "uploads", _purposes(store), QUOTA)
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
    uploads = Uploads(
        database,
        tmp_path / "uploads",
        _purposes(store, lambda *_: "no round is open"),
        QUOTA,
    )
    assert _offer(uploads, database, device_id)[0] == "refused"
    assert uploads.chunk(device_id, SHA, 0, _chunk(0), NOON) is None


def test_an_offer_of_a_purpose_that_nobody_has_is_refused(database: Database, device_id: str, tmp_path: Path) -> None:
    assert _offer(Uploads(database, tmp_path / "uploads", {}, QUOTA), database, device_id)[0] == "refused"


def test_what_its_purpose_does_not_keep_is_refused_with_the_reason(
    database: Database, device_id: str, tmp_path: Path
) -> None:
    purpose = Purpose(lambda *_: "", lambda *_: False, lambda *_: "it is no sample")
    uploads = Uploads(database, tmp_path / "uploads", {"capture": purpose}, QUOTA)
    offer = OFFER.model_copy(update={"purpose": "capture", "about": "digits"})
    assert _offer(uploads, database, device_id, offer)[0] == "credit"
    answers = [uploads.chunk(device_id, SHA, index, _chunk(index), NOON) for index in range(3)]
    assert answers[:2] == [None, None]
    assert answers[2] is not None
    assert (answers[2].state, answers[2].reason) == ("refused", "it is no sample")


def _failing(error: Exception) -> Purpose:
    def keep(session: Session, upload: Upload, _data: bytes, _now: datetime) -> str:
        session.get_one(Device, upload.device_id).name = "half done"
        session.flush()
        raise error

    return Purpose(lambda *_: "", lambda *_: False, keep)


def test_what_its_purpose_fails_at_is_refused_once_and_for_all(
    database: Database, device_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uploads = Uploads(database, tmp_path / "uploads", {"federated_update": _failing(ZeroDivisionError("oh"))}, QUOTA)
    _offer(uploads, database, device_id)
    answers = [uploads.chunk(device_id, SHA, index, _chunk(index), NOON) for index in range(3)]
    assert answers[2] is not None
    assert (answers[2].state, answers[2].reason) == ("refused", "the hub failed at it: ZeroDivisionError")
    assert uploads.chunk(device_id, SHA, 2, _chunk(2), NOON) is None
    assert "ZeroDivisionError: oh" in caplog.text
    with database.session() as session:
        assert session.get_one(Device, device_id).name != "half done", "what it had begun is undone"


def test_a_blob_is_kept_once_the_disk_has_room_again(database: Database, device_id: str, tmp_path: Path) -> None:
    uploads = Uploads(database, tmp_path / "uploads", {"federated_update": _failing(OSError("no space"))}, QUOTA)
    _offer(uploads, database, device_id)
    with pytest.raises(OSError, match="no space"):
        [uploads.chunk(device_id, SHA, index, _chunk(index), NOON) for index in range(3)]
    kept = Purpose(lambda *_: "", lambda *_: False, lambda *_: "")
    again = Uploads(database, tmp_path / "uploads", {"federated_update": kept}, QUOTA)
    answer = again.chunk(device_id, SHA, 2, _chunk(2), NOON)
    assert answer is not None
    assert answer.state == "stored"


def test_an_idle_upload_is_asked_about_by_its_own_purpose(database: Database, device_id: str, tmp_path: Path) -> None:
    asked: list[BlobOffer] = []

    def refusal(_session: object, _device_id: str, offer: BlobOffer) -> str:
        asked.append(offer)
        return ""

    purpose = Purpose(refusal, lambda *_: False, lambda *_: "")
    uploads = Uploads(database, tmp_path / "uploads", {"capture": purpose}, QUOTA)
    offer = OFFER.model_copy(update={"purpose": "capture", "about": "digits"})
    _offer(uploads, database, device_id, offer)
    later = NOON + timedelta(seconds=10)
    assert uploads.idle(later, later) == [device_id]
    assert asked == [offer, offer]


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
    uploads = Uploads(database, tmp_path / "uploads", _purposes(store, lambda *_: reasons[0]), QUOTA)
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


SMALL = Quota(bytes_per_day=10 * CHUNK, bytes_in_flight=6 * CHUNK, blobs_in_flight=4, chunks_per_s=1000.0)


def _limited(database: Database, store: ArtifactStore, folder: Path, **changes: float) -> Uploads:
    return Uploads(
        database,
        folder / "uploads",
        _purposes(store),
        replace(SMALL, **changes),
    )


def _blob(number: int, chunks: int = 1) -> tuple[BlobOffer, bytes]:
    data = number.to_bytes(4, "big") * (chunks * CHUNK // 4)
    return BlobOffer(sha256=sha256_hex(data), size_bytes=len(data), chunk_bytes=CHUNK), data


def test_unbounded_uploads_by_one_device_are_refused_and_no_other_device_is_affected(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    uploads = _limited(database, store, tmp_path)
    with database.transaction() as session:
        other = add_device(session).id
    states = []
    for number in range(500):
        offer, _ = _blob(number)
        with database.transaction() as session:
            uploads.offer(session, device_id, offer, NOON + timedelta(seconds=number))
        with database.session() as session:
            answer = uploads.answers(session, device_id)[offer.sha256]
        states.append(answer.state)
    assert states[:4] == ["credit"] * 4
    assert set(states[4:]) == {"refused"}
    assert answer.reason == "4 blobs are on their way already, at most 4 may be at once"
    with database.session() as session:
        assert len(session.exec(select(Upload)).all()) <= 4 + 65, "what is remembered does not grow with the offers"
        events = session.exec(select(EventRow).where(EventRow.kind == "blob_refused")).all()
    assert len(events) == 1
    assert "4 blobs are on their way" in events[0].message
    assert _offer(uploads, database, other) == ("credit", (0, 1, 2))


def test_bytes_on_their_way_are_bounded(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    uploads = _limited(database, store, tmp_path)
    assert _offer(uploads, database, device_id, _blob(1, chunks=4)[0])[0] == "credit"
    assert _offer(uploads, database, device_id, _blob(2, chunks=3)[0])[0] == "refused"
    assert _offer(uploads, database, device_id, _blob(3, chunks=2)[0])[0] == "credit"


@pytest.mark.parametrize("is_honest", [True, False])
def test_a_days_bytes_count_whether_the_blobs_came_to_something_or_not(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path, is_honest: bool
) -> None:
    uploads = _limited(database, store, tmp_path)
    taken = 0
    for number in range(20):
        offer, data = _blob(number)
        with database.transaction() as session:
            uploads.offer(session, device_id, offer, NOON)
        answer = uploads.chunk(device_id, offer.sha256, 0, data if is_honest else b"x" * CHUNK, NOON)
        taken += answer is not None
    assert taken == 10
    refused, _ = _blob(99)
    assert _offer(uploads, database, device_id, refused)[0] == "refused"
    with database.transaction() as session:
        uploads.offer(session, device_id, refused, NOON + timedelta(days=1, seconds=1))
    with database.session() as session:
        assert uploads.answers(session, device_id)[refused.sha256].state == "credit", "a day later there is room again"


def _taken_of_a_device_that_ends_nothing(
    uploads: Uploads, database: Database, device_id: str, blobs: list[tuple[BlobOffer, bytes]]
) -> int:
    """Have a device offer blobs in turn and send all of each but one chunk; return the bytes that were asked for."""
    taken = 0
    for offer, data in blobs:
        _, missing = _offer(uploads, database, device_id, offer)
        for index in missing[:-1]:
            uploads.chunk(device_id, offer.sha256, index, data[index * CHUNK : (index + 1) * CHUNK], NOON)
            taken += CHUNK
    return taken


@pytest.mark.parametrize("different", [2, 40])
def test_what_came_of_blobs_that_are_given_up_counts_for_the_day(
    database: Database, device_id: str, tmp_path: Path, different: int
) -> None:
    purpose = Purpose(lambda *_: "", lambda *_: False, lambda *_: "", is_one_at_a_time=True)
    uploads = Uploads(database, tmp_path / "uploads", {"capture": purpose}, SMALL)
    one_by_one = [_blob(number % different, chunks=4) for number in range(40)]
    about = {"purpose": "capture", "about": "digits"}
    blobs = [(offer.model_copy(update=about), data) for offer, data in one_by_one]
    assert 0 < _taken_of_a_device_that_ends_nothing(uploads, database, device_id, blobs) <= SMALL.bytes_per_day
    with database.session() as session:
        assert len(session.exec(select(Upload)).all()) <= 41
    later = NOON + timedelta(days=1, seconds=1)
    with database.transaction() as session:
        uploads.offer(session, device_id, blobs[0][0], later)
        session.flush()
        assert uploads.answers(session, device_id)[blobs[0][0].sha256].state == "credit", "a day later"


def test_what_came_of_a_blob_before_its_size_was_another_counts_for_the_day(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    uploads = _limited(database, store, tmp_path)
    (offer, data), larger = _blob(1, chunks=4), {"size_bytes": MAX_BLOB_BYTES + 1}
    blobs = [(offer, data), (offer.model_copy(update=larger), data)] * 20
    assert 0 < _taken_of_a_device_that_ends_nothing(uploads, database, device_id, blobs) <= SMALL.bytes_per_day


def test_tiny_blobs_count_for_a_chunk_each(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    uploads = _limited(database, store, tmp_path, blobs_in_flight=64, bytes_per_day=10**9)
    offers = [BlobOffer(sha256=f"{number:064x}", size_bytes=1, chunk_bytes=CHUNK) for number in range(10)]
    assert [_offer(uploads, database, device_id, one)[0] for one in offers].count("credit") == 6


def test_chunks_beyond_the_rate_are_dropped_and_asked_for_again(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    uploads = _limited(database, store, tmp_path, chunks_per_s=2 / 60)
    offer, data = _blob(1, chunks=4)
    _offer(uploads, database, device_id, offer)
    for index in range(4):
        uploads.chunk(device_id, offer.sha256, index, data[index * CHUNK : (index + 1) * CHUNK], NOON)
    assert _offer(uploads, database, device_id, offer) == ("credit", (2, 3))


def test_a_refusal_after_a_credit_frees_the_disk(
    database: Database, store: ArtifactStore, device_id: str, tmp_path: Path
) -> None:
    uploads = _limited(database, store, tmp_path)
    offer, data = _blob(1, chunks=4)
    _offer(uploads, database, device_id, offer)
    uploads.chunk(device_id, offer.sha256, 0, data[:CHUNK], NOON)
    larger = offer.model_copy(update={"size_bytes": 7 * CHUNK})
    assert _offer(uploads, database, device_id, larger)[0] == "refused"
    assert list((tmp_path / "uploads").iterdir()) == []
