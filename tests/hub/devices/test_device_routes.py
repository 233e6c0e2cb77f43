"""The routes of devices."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select

from shoal_contract.desired import DesiredModel, DesiredState
from shoal_contract.envelope import DESIRED_STATE_TYPE
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import DesiredRow, Device, Intent

DEVICE = "d-aaaaaaaaaaaaaaaa"
NOW = utc_now()
SLOT = {"version": 1, "target": "generic-onnx-int8", "sha256": "a" * 64, "state": "good"}
REPORTED: dict[str, Any] = {
    "connection": 3,
    "sequence": 4,
    "at": NOW.isoformat(),
    "epoch": 1,
    "generation": 7,
    "agent_version": "0.1.0",
    "hardware": {"kind": "jetson", "model": "Orin", "architecture": "aarch64", "cores": 6, "memory_bytes": 2**33},
    "runtimes": ["onnxruntime"],
    "targets": ["generic-onnx-int8"],
    "models": {
        "digits": {"active": {"version": 1, "target": "generic-onnx-int8", "sha256": "a" * 64, "state": "good"}}
    },
    "sections": {
        "models/digits": {"state": "applied", "deployment": "dp-1"},
        "models/faces": {"state": "failed", "problem": {"code": "no_target", "message": "none", "remedy": "compress"}},
    },
}


def add_device(hub: HubContext, **columns: Any) -> None:
    with hub.database.transaction() as session:
        given = {"id": DEVICE, "name": "kitchen", "public_key_sha256": "0" * 64, "certificate_serial": "1"}
        session.add(Device(enrolled_at=NOW, **(given | columns)))


def test_a_device_shows_what_runs_on_it_and_what_failed(client: TestClient, hub: HubContext) -> None:
    add_device(hub, reported=REPORTED, presence="online")
    [device] = client.get("/api/v1/devices").json()
    assert device["models"]["digits"] == {
        "version": 1,
        "target": "generic-onnx-int8",
        "section": "applied",
        "problem": None,
        "fallback": None,
    }
    assert device["models"]["faces"]["problem"]["remedy"] == "compress"
    assert (device["hardware"]["model"], device["targets"]) == ("Orin", ["generic-onnx-int8"])


def test_a_device_shows_its_desired_state_and_the_intents_that_lost(client: TestClient, hub: HubContext) -> None:
    add_device(hub, reported=REPORTED, reported_epoch=1, reported_generation=7)
    model = DesiredModel(
        version=2,
        target="t",
        manifest={"sha256": "a" * 64, "size_bytes": 5},
        deployment="dp-2",  # type: ignore[arg-type]
    )
    state = DesiredState(
        device_id=DEVICE, epoch=1, generation=8, issued_at=NOW, expires_at=NOW, models={"digits": model}
    )
    with hub.database.transaction() as session:
        session.add(
            DesiredRow(
                device_id=DEVICE,
                epoch=1,
                generation=8,
                content_sha256="",
                envelope=hub.director.sign(state.to_bytes(), DESIRED_STATE_TYPE),
                issued_at=NOW,
                expires_at=NOW,
                conflicts=[{"section": "models/digits", "owner": "rollout/r-1"}],
            )
        )
    shown = client.get(f"/api/v1/devices/{DEVICE}").json()
    assert shown["desired"]["models"] == {"digits": 2}
    assert not shown["desired"]["is_reported"]
    assert shown["conflicts"] == [{"section": "models/digits", "owner": "rollout/r-1"}]


def test_a_device_can_be_renamed_and_tagged_each_by_itself(client: TestClient, hub: HubContext) -> None:
    add_device(hub)
    assert client.patch(f"/api/v1/devices/{DEVICE}", json={"tags": {"site": "north"}}).json()["name"] == "kitchen"
    shown = client.patch(f"/api/v1/devices/{DEVICE}", json={"name": "hall"}).json()
    assert (shown["name"], shown["tags"]) == ("hall", {"site": "north"})


@pytest.mark.parametrize(
    "body",
    [{"name": "a\x00"}, {"name": "x" * 65}, {"tags": {"Bad Name": "x"}}, {"tags": {"a": 1}}, {"tags": {"a": "\x00"}}],
)
def test_a_name_or_tag_without_sense_is_refused(sqlite_client: TestClient, sqlite_hub: HubContext, body: Any) -> None:
    add_device(sqlite_hub)
    assert sqlite_client.patch(f"/api/v1/devices/{DEVICE}", json=body).status_code == 422


@pytest.mark.parametrize("device_id", ["d-bbbbbbbbbbbbbbbb", "nonsense", "a%2F..%2Fb", "%27%20OR%201=1"])
def test_a_device_that_is_not_there_is_not_found(client: TestClient, device_id: str) -> None:
    response = client.get(f"/api/v1/devices/{device_id}")
    assert response.status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "limit=x", "offset=99999999999999999999"])
def test_a_page_without_sense_is_refused(sqlite_client: TestClient, query: str) -> None:
    assert sqlite_client.get(f"/api/v1/devices?{query}").status_code == 422


def test_a_nul_in_a_path_is_refused(client: TestClient) -> None:
    assert client.get("/api/v1/devices/a%00b").status_code == 422


def test_a_configuration_becomes_an_intent_and_a_wrong_one_is_refused(client: TestClient, hub: HubContext) -> None:
    add_device(hub)

    answer = client.put(f"/api/v1/devices/{DEVICE}/config", json={"window_s": 5})

    assert answer.status_code == 200
    with hub.database.session() as session:
        (intent,) = session.exec(select(Intent))
        assert (intent.section, intent.kind, intent.body["window_s"]) == ("config", "default", 5.0)
    assert client.put(f"/api/v1/devices/{DEVICE}/config", json={"window_s": 0}).status_code == 422
    assert client.put("/api/v1/devices/d-none/config", json={}).status_code == 404
