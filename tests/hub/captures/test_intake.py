"""What a device may send, what is looked at before it is kept, and what becomes of it."""

import io
import zipfile
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlmodel import select
from tests.hub.captures.conftest import Fleet
from tests.hub.captures.samples import X, npz, offer_of, packed

from shoal_contract.limits import MAX_CAPTURE_BYTES
from shoal_hub.captures.content import why_no_sample
from shoal_hub.database import utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device
from shoal_hub.registry.tables import Artifact, Version


def test_a_sample_is_kept_with_what_is_known_of_it_under_the_device_that_sent_it(fleet: Fleet) -> None:
    fleet.want()
    data = packed(label=3, confidence=0.5, true_label=8, sample=1, reasons=("class", "random"))
    assert fleet.send(data).state == "stored"
    [shown] = fleet.captures()
    assert (shown["device_id"], shown["model"], shown["version"]) == (fleet.ids[0], "digits", 1)
    assert (shown["request_id"], shown["sample"], shown["reasons"]) == ("r-1", 1, ["class", "random"])
    assert (shown["label"], shown["confidence"], shown["true_label"]) == (3, 0.5, 8)
    content = fleet.client.get(f"/api/v1/captures/{shown['id']}/content").content
    assert np.load(io.BytesIO(content))["x"] == X


def test_the_same_sample_again_is_the_same_row(fleet: Fleet) -> None:
    fleet.want()
    assert [fleet.send(packed()).state for _ in range(2)] == ["stored", "stored"]
    [before] = fleet.captures()
    later = packed(true_label=2)
    assert fleet.send(later).state == "stored"
    [after] = fleet.captures()
    assert (after["id"], before["true_label"], after["true_label"]) == (before["id"], None, 2)
    assert not fleet.hub.artifacts.has(before["sha256"])
    assert fleet.hub.artifacts.has(after["sha256"])


def test_a_device_sends_in_its_own_name_alone(fleet: Fleet) -> None:
    fleet.want()
    fleet.send(packed(), device=0)
    fleet.send(packed(), device=1)
    assert sorted(one["device_id"] for one in fleet.captures()) == sorted(fleet.ids)
    assert len(fleet.captures(device=fleet.ids[0])) == 1


def test_what_was_not_asked_for_is_refused(fleet: Fleet) -> None:
    assert "not asked for" in fleet.offer(offer_of(packed())).reason
    fleet.want()
    assert "no model are not asked for" in fleet.offer(offer_of(packed(1), None)).reason
    assert "samples of other are not asked for" in fleet.offer(offer_of(packed(2), "other")).reason
    large = offer_of(packed(3)).model_copy(update={"size_bytes": MAX_CAPTURE_BYTES + 1})
    assert "at most" in fleet.offer(large).reason
    with fleet.hub.database.transaction() as session:
        revoke(session, session.get_one(Device, fleet.ids[0]), by="ada", reason="", now=utc_now())
    assert fleet.offer(offer_of(packed(4))).reason == "the device was revoked"


def test_a_days_samples_and_bytes_and_the_hubs_room_are_bounded(fleet: Fleet) -> None:
    fleet.want(max_samples_per_day=1)
    assert [fleet.send(packed(n)).state for n in range(3)] == ["stored", "stored", "refused"]
    assert fleet.send(packed(9), device=1).state == "stored", "each device has its own share"
    fleet.want(max_bytes_per_day=1)
    assert "bytes came within a day" in fleet.offer(offer_of(packed(3))).reason
    fleet.want()
    fleet.max_bytes = 100
    assert "SHOAL_CAPTURES_MAX_BYTES" in fleet.offer(offer_of(packed(4))).reason


def test_the_hubs_room_holds_for_samples_that_all_had_credit(fleet: Fleet) -> None:
    fleet.want()
    samples = [packed(device) for device in range(2)]
    fleet.max_bytes = len(samples[0]) + len(samples[1]) - 1
    uploads, answers = fleet.uploads(), []
    for device_id, data in zip(fleet.ids, samples, strict=True):
        with fleet.hub.database.transaction() as session:
            uploads.offer(session, device_id, offer_of(data), utc_now())
    for device_id, data in zip(fleet.ids, samples, strict=True):
        answers.append(uploads.chunk(device_id, offer_of(data).sha256, 0, data, utc_now()))
    assert [answer.state for answer in answers if answer] == ["stored", "refused"]
    assert len(fleet.captures()) == 1


def test_an_artifact_that_the_hub_has_is_no_sample_for_naming_its_hash(fleet: Fleet) -> None:
    fleet.want()
    data = packed()
    stored = fleet.hub.artifacts.put(data)
    with fleet.hub.database.transaction() as session:
        session.add(Artifact(sha256=stored.sha256, size_bytes=stored.size_bytes, created_at=utc_now()))
    assert fleet.offer(offer_of(data)).state == "credit", "it has to send the bytes that it claims to have"
    fleet.send(data)
    [shown] = fleet.captures()
    fleet.client.delete(f"/api/v1/captures/{shown['id']}").raise_for_status()
    assert fleet.hub.artifacts.has(stored.sha256), "what is an artifact as well stays"


def inflating() -> bytes:
    """Return a small .npz whose array says that it is far larger."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array(file, np.zeros(MAX_CAPTURE_BYTES, dtype=np.float32))
    return buffer.getvalue()


def damaged(*, is_deflated: bool) -> bytes:
    """Return an .npz whose headers are good, and whose numbers are not what was written."""
    buffer = io.BytesIO()
    (np.savez_compressed if is_deflated else np.savez)(buffer, x=np.arange(4096, dtype=np.float32))
    sample = bytearray(buffer.getvalue())
    sample[len(sample) // 2] ^= 0xFF
    return bytes(sample)


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (b"no archive", "no zip archive"),
        (damaged(is_deflated=False), "no .npz: Bad CRC-32"),
        (damaged(is_deflated=True), "no .npz"),
        (npz(x=np.array([{}], dtype=object)), "pickled"),
        (npz(x=np.zeros(2, dtype=np.float32)), "2 elements, 1 or an even part were expected"),
        (npz(x=np.array(0.5)), "float64"),
        (npz(y=X), "arrays y found"),
        (npz(), "of none"),
        (inflating(), "at most"),
    ],
)
def test_what_is_no_sample_of_the_model_is_refused(sqlite_fleet: Fleet, sample: bytes, says: str) -> None:
    sqlite_fleet.want()
    answer = sqlite_fleet.send(packed(content=sample))
    assert answer.state == "refused"
    assert says in answer.reason
    assert sqlite_fleet.captures() == []


ANY, ROW, WHOLE, FIXED = (-1, 2, 3), (-1, 6), (2, 3), (4, 6)


@pytest.mark.parametrize(
    ("is_batched", "shape", "sizes", "is_taken"),
    [
        (False, WHOLE, (2, 3), True),
        (False, WHOLE, (6,), True),
        (False, WHOLE, (3,), False),
        (False, (), (), True),
        (False, (-1, 3), (5, 3), True),
        (True, ANY, (2, 3), True),
        (True, ROW, (12,), True),
        (True, ROW, (5,), False),
        (True, ROW, (0,), False),
        (True, FIXED, (6,), True),
        (True, FIXED, (4, 6), True),
        (True, FIXED, (5,), False),
        (True, (), (), True),
        (True, (2,), (2,), True),
        (True, (2,), (4,), False),
    ],
)
def test_what_a_device_keeps_of_an_input_is_taken_and_nothing_else(
    is_batched: bool, shape: tuple[int, ...], sizes: tuple[int, ...], is_taken: bool
) -> None:
    sample, inputs = npz(x=np.zeros(sizes, dtype=np.float32)), [{"name": "x", "datatype": "FP32", "shape": shape}]
    reason = why_no_sample(sample, inputs, MAX_CAPTURE_BYTES, is_batched=is_batched)
    assert (reason == "") == is_taken, reason


def test_a_sample_of_a_version_without_batches_is_a_whole_request(sqlite_fleet: Fleet) -> None:
    with sqlite_fleet.hub.database.transaction() as session:
        version = session.exec(select(Version)).one()
        version.batching, version.inputs = "none", [{"name": "x", "datatype": "FP32", "shape": (2, 3)}]
    sqlite_fleet.want()
    assert sqlite_fleet.send(packed(content=npz(x=np.zeros((2, 3), dtype=np.float32)))).state == "stored"


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"model": "other"}, "of the model other"), ({"version": 7}, "version 7 of digits, which this hub does not know")],
)
def test_what_says_something_else_than_its_offer_is_refused(
    sqlite_fleet: Fleet, changes: dict[str, Any], says: str
) -> None:
    sqlite_fleet.want()
    answer = sqlite_fleet.send(packed(**changes))
    assert (answer.state, says in answer.reason) == ("refused", True)


def test_what_is_no_record_is_refused(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.want()
    assert sqlite_fleet.send(b"{}\n" + npz(x=X)).state == "refused"


def test_an_upload_that_is_asked_for_no_more_ends(fleet: Fleet) -> None:
    fleet.want()
    fleet.offer(offer_of(packed()))
    fleet.client.delete("/api/v1/capture-requests/digits").raise_for_status()
    later = utc_now() + timedelta(minutes=1)
    assert fleet.uploads().idle(later, later) == [fleet.ids[0]]
    assert fleet.uploads().idle(later + timedelta(minutes=1), later + timedelta(minutes=1)) == []


def test_a_device_that_offers_another_sample_is_asked_for_the_one_before_no_more(fleet: Fleet) -> None:
    fleet.want()
    assert fleet.offer(offer_of(packed(0))).state == "credit"
    assert fleet.offer(offer_of(packed(0)), device=1).state == "credit"
    assert fleet.offer(offer_of(packed(1))).state == "credit"
    with fleet.hub.database.session() as session:
        assert fleet.uploads().answers(session, fleet.ids[0]).keys() == {offer_of(packed(1)).sha256}
        assert fleet.uploads().answers(session, fleet.ids[1]).keys() == {offer_of(packed(0)).sha256}
