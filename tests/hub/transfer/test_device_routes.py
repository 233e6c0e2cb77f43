"""Artifacts over HTTPS, for devices: who may have what, in which parts, by requests that are of this time."""

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from tests.hub.devices.requests_of import Key, enrolled, fingerprint, new_key

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_contract.device_request import ArtifactRequest, authorization_of
from shoal_contract.ids import new_device_id, sha256_hex
from shoal_contract.limits import MAX_RANGE_BYTES
from shoal_contract.transfer import describe, parse_transfer_manifest
from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.intents import drop_intents, set_intent
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device
from shoal_hub.registry.artifacts import store_artifact

DATA = bytes(range(256)) * 4 * 1024 + b"end"  # a mebibyte and a little
SHA256 = sha256_hex(DATA)
Change = Callable[["Asking"], None]


class Asking:
    """A device that is told of an artifact, and what it asks for."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client
        self.key: Key = new_key()
        self.device_id = enrolled(client, self.key)
        with hub.database.transaction() as session:
            store_artifact(session, hub.artifacts, DATA)
            body = DesiredModel(
                version=1, target="t", manifest=ArtifactRef(sha256=SHA256, size_bytes=len(DATA)), deployment="dp-1"
            )
            set_intent(
                session, self.device_id, "models/digits", kind="rollout", owner="rollout/r-1", body=body, now=utc_now()
            )
        self.at: datetime = utc_now()
        self.named = self.device_id
        self.signed_for = SHA256

    @property
    def authorization(self) -> str:
        request = ArtifactRequest(device_id=self.named, sha256=self.signed_for, at=self.at)
        return authorization_of(request, self.key, fingerprint(self.key))

    def get(self, range_: str | None = "bytes=0-99", sha256: str = SHA256, tail: str = "", **headers: str) -> Response:
        sent = {"Authorization": self.authorization, **({"Range": range_} if range_ is not None else {}), **headers}
        return self.client.get(f"/api/v1/device/artifacts/{sha256}{tail}", headers=sent)

    def change(self, **columns: Any) -> None:
        with self.hub.database.transaction() as session:
            row = session.get_one(Device, self.device_id)
            for name, value in columns.items():
                setattr(row, name, value)
            session.add(row)


@pytest.fixture
def asking(hub: HubContext, client: TestClient) -> Asking:
    return Asking(hub, client)


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (5, 1000), (len(DATA) - 1, len(DATA) - 1), (0, MAX_RANGE_BYTES - 1)]
)
def test_a_device_gets_the_range_that_it_asks_for(asking: Asking, first: int, last: int) -> None:
    answer = asking.get(f"bytes={first}-{last}")
    assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"


@pytest.mark.parametrize(
    "range_",
    [None, "", "bytes=0-", "bytes=-5", "bytes=5-4", f"bytes=0-{MAX_RANGE_BYTES}", f"bytes=0-{len(DATA)}",
     f"bytes={len(DATA)}-{len(DATA)}", "bytes=0-1,3-4", "chunks=0-1", "bytes=0-٣"],
)  # fmt: skip
def test_other_ranges_are_refused_with_the_size(asking: Asking, range_: str | None) -> None:
    answer = asking.get(range_.encode() if range_ and not range_.isascii() else range_)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    assert answer.json()["error"]["code"] == "no_such_range"


def test_the_chunk_list_is_the_one_that_stands_at_the_broker(asking: Asking) -> None:
    for _ in range(2):  # hashed, and kept
        listed = parse_transfer_manifest(asking.get(None, tail="/chunks").content, SHA256, len(DATA))
        assert listed == describe(DATA)


def test_what_the_device_is_not_told_of_is_refused_whether_or_not_it_exists(asking: Asking) -> None:
    with asking.hub.database.transaction() as session:
        other = store_artifact(session, asking.hub.artifacts, b"another's").sha256
    answers = []
    for sha256 in (other, "0" * 64):
        asking.signed_for = sha256
        answer = asking.get(sha256=sha256)
        assert answer.status_code == 403
        answers.append(answer.json()["error"]["message"].replace(sha256[:12], ""))
    assert answers[0] == answers[1]


def test_a_device_that_is_told_of_it_no_longer_gets_nothing_more(asking: Asking) -> None:
    assert asking.get().status_code == 206
    with asking.hub.database.transaction() as session:
        drop_intents(session, asking.device_id)
    assert asking.get().status_code == 403


def _of_another_device(asking: Asking) -> None:
    asking.named = new_device_id()


def _for_another_artifact(asking: Asking) -> None:
    asking.signed_for = "0" * 64


def _by_a_stranger(asking: Asking) -> None:
    asking.key = new_key()


def _revoked(asking: Asking) -> None:
    with asking.hub.database.transaction() as session:
        revoke(session, session.get_one(Device, asking.device_id), by="ada", reason="", now=utc_now())


@pytest.mark.parametrize(
    ("change", "status"),
    [(_of_another_device, 403), (_for_another_artifact, 403), (_by_a_stranger, 401), (_revoked, 403)],
)
def test_whoever_is_not_that_device_or_is_no_more_is_refused(asking: Asking, change: Change, status: int) -> None:
    change(asking)
    assert asking.get().status_code == status
    assert asking.get(None, tail="/chunks").status_code == status


def test_a_certificate_that_has_ended_opens_nothing(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    later = utc_now() + timedelta(days=400)
    asking.at = later
    monkeypatch.setattr("shoal_hub.transfer.device_routes.utc_now", lambda: later)
    answer = asking.get()
    assert (answer.status_code, "has ended" in answer.json()["error"]["message"]) == (403, True)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_request_of_another_time_is_told_the_hub_s(asking: Asking, minutes: int) -> None:
    asking.at = utc_now() + timedelta(minutes=minutes)
    answer = asking.get()
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "clock")


@pytest.mark.parametrize(
    "header", ["", "Bearer x", "Shoal-Device", "Shoal-Device ?", "Shoal-Device e30=", f"Shoal-Device {'A' * 5000}"]
)
def test_a_header_that_proves_nothing_is_refused(asking: Asking, header: str) -> None:
    assert asking.get(Authorization=header).status_code == 401


def test_a_signature_that_was_changed_is_refused(asking: Asking) -> None:
    scheme, _, text = asking.authorization.partition(" ")
    envelope = bytearray(base64.b64decode(text))
    at = envelope.index(b'"payload":"') + 30
    envelope[at] = ord("A") if envelope[at] != ord("A") else ord("B")
    assert asking.get(Authorization=f"{scheme} {base64.b64encode(envelope).decode()}").status_code == 401


def test_an_operator_s_token_is_no_device(asking: Asking) -> None:
    assert asking.client.get(f"/api/v1/device/artifacts/{SHA256}").status_code == 401


def test_what_one_device_may_ask_for_in_a_minute_is_bounded(hub: HubContext, client: TestClient) -> None:
    settings = hub.settings.model_copy(update={"device_fetches_per_minute": 3})
    asking = Asking(hub, client)
    asking.client = TestClient(create_app(replace(hub, settings=settings)))
    assert [asking.get().status_code for _ in range(4)] == [206, 206, 206, 429]
