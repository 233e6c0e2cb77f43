"""A pinned device stays where it is, whatever rollouts want, until it is let go or its time has come."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import add_device, add_version, make_report

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.compose import compose
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device
from shoal_hub.pins.pin import pinned_devices
from shoal_hub.transfer.leases import lease_users

TARGET = "generic-onnx-int8"


@pytest.fixture
def device(hub: HubContext) -> str:
    with hub.database.transaction() as session:
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {TARGET: bytes([number]) * 1000})
        return add_device(session, name="kitchen", reported=make_report().model_dump(mode="json")).id


def url(device: str, model: str = "digits") -> str:
    return f"/api/v1/devices/{device}/pins/{model}"


def pin(client: TestClient, device: str, version: str, **more: Any) -> Any:
    answer = client.put(url(device), json={"version": version} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def wanted(hub: HubContext, device: str, after: timedelta = timedelta()) -> int | None:
    with hub.database.session() as session:
        found = compose(intents_of(session, device), utc_now() + after).models.get("digits")
    return found.version if found else None


def test_a_pin_wins_over_a_later_rollout_and_gives_way_when_it_is_taken_away(
    client: TestClient, hub: HubContext, device: str
) -> None:
    client.post("/api/v1/rollouts", json={"model": "digits", "version": "2"}).raise_for_status()
    assert pin(client, device, "1")["version"] == 1
    assert wanted(hub, device) == 1
    assert client.delete(url(device)).json()["version"] == 1
    assert wanted(hub, device) in {2, None}
    assert client.delete(url(device)).status_code == 404


def test_a_rollout_leaves_pinned_devices_out_and_says_so(client: TestClient, hub: HubContext, device: str) -> None:
    with hub.database.transaction() as session:
        other = add_device(session, name="garden", reported=make_report().model_dump(mode="json")).id
    pin(client, device, "1")
    refused = client.post("/api/v1/rollouts", json={"model": "digits", "version": "2", "devices": [device, other]})
    assert (refused.status_code, device in refused.json()["error"]["message"]) == (409, True)
    started = client.post("/api/v1/rollouts", json={"model": "digits", "version": "2"}).json()
    assert [one["device_id"] for one in started["deployments"]] == [other]
    events = client.get("/api/v1/events").json()
    assert any("1 left out as they are pinned" in event["message"] for event in events)


def test_a_pin_has_what_the_device_fetches_stand_at_the_broker(
    client: TestClient, hub: HubContext, device: str
) -> None:
    pin(client, device, "1")
    with hub.database.session() as session:
        assert f"device/{device}" in lease_users(session)


def test_a_pin_stays_on_the_version_that_an_alias_led_to(client: TestClient, hub: HubContext, device: str) -> None:
    assert pin(client, device, "latest")["version"] == 2
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 3, {TARGET: b"3" * 1000})
    assert wanted(hub, device) == 2


def test_a_pin_ends_with_its_time(client: TestClient, hub: HubContext, device: str) -> None:
    pin(client, device, "1", until=(utc_now() + timedelta(hours=1)).isoformat())
    assert (wanted(hub, device), wanted(hub, device, timedelta(hours=2))) == (1, None)
    with hub.database.session() as session:
        assert pinned_devices(session, "digits", utc_now()) == {device}
        assert pinned_devices(session, "digits", utc_now() + timedelta(hours=2)) == set()


def test_pins_are_listed_and_pinning_again_replaces(client: TestClient, device: str) -> None:
    pin(client, device, "1")
    pin(client, device, "2")
    (found,) = client.get("/api/v1/pins", params={"model": "digits"}).json()
    assert (found["device_id"], found["version"], found["target"]) == (device, 2, TARGET)
    assert client.get("/api/v1/pins", params={"model": "other"}).json() == []


def test_what_makes_no_sense_is_refused(client: TestClient, hub: HubContext, device: str) -> None:
    assert client.put(url("d-aaaaaaaaaaaaaaaa"), json={"version": "1"}).status_code == 404
    assert client.put(url(device, "nothing"), json={"version": "1"}).status_code == 404
    assert client.put(url(device), json={"version": "9"}).status_code == 404
    assert client.put(url(device), json={"version": "1", "until": "2026-01-01T00:00:00"}).status_code == 422
    with hub.database.transaction() as session:
        session.get_one(Device, device).reported = {**make_report().model_dump(mode="json"), "targets": ["other"]}
    refused = client.put(url(device), json={"version": "1"})
    assert (refused.status_code, TARGET in refused.json()["error"]["message"]) == (409, True)
    with hub.database.transaction() as session:
        session.get_one(Device, device).revoked_at = utc_now()
    assert "revoked" in client.put(url(device), json={"version": "1"}).json()["error"]["message"]


def test_a_device_that_is_pinned_while_a_rollout_runs_holds_nobody_up(
    client: TestClient, hub: HubContext, device: str
) -> None:
    started = client.post("/api/v1/rollouts", json={"model": "digits", "version": "2"}).json()
    reconcile_rollouts(hub.database, utc_now())
    pin(client, device, "1")
    for _ in range(3):
        reconcile_rollouts(hub.database, utc_now() + timedelta(hours=1))
    found = client.get(f"/api/v1/rollouts/{started['id']}").json()
    assert (found["state"], found["deployments"][0]["state"]) == ("succeeded", "cancelled")
    assert found["deployments"][0]["problem"]["code"] == "pinned"


def test_a_rollback_does_not_wait_for_a_pinned_device(client: TestClient, hub: HubContext, device: str) -> None:
    started = client.post("/api/v1/rollouts", json={"model": "digits", "version": "2"}).json()
    reconcile_rollouts(hub.database, utc_now())
    pin(client, device, "2")
    client.post(f"/api/v1/rollouts/{started['id']}/rollback").raise_for_status()
    for _ in range(3):
        reconcile_rollouts(hub.database, utc_now())
    assert client.get(f"/api/v1/rollouts/{started['id']}").json()["state"] == "rolled_back"


def test_a_pin_is_no_way_around_approvals(client: TestClient, device: str) -> None:
    client.put("/api/v1/models/digits/approval-policy", json={"rollout": 1, "production": 0}).raise_for_status()
    refused = client.put(url(device), json={"version": "1"})
    assert (refused.status_code, "asks for approvals" in refused.json()["error"]["message"]) == (409, True)
