"""Limits: the narrowest counts, value by value, and every device for which something changes is told at once."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.simulators.rows import NOON, add_device

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredConfig, DesiredModel, DesiredState
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.desired import refresh_desired, stale_devices
from shoal_hub.devices.intents import replace_intents, set_intent
from shoal_hub.devices.tables import DesiredRow, IntentKind


class Fleet:
    """Three devices, two of them in a group, and an operator who limits them."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client
        self.make_group("greenhouse")
        with hub.database.transaction() as session:
            self.one = add_device(session, group="greenhouse").id
            self.two = add_device(session, group="greenhouse").id
            self.alone = add_device(session).id
        self.compose(self.one, self.two, self.alone)

    def make_group(self, name: str, **body: Any) -> None:
        self.client.post("/api/v1/groups", json={"name": name} | body).raise_for_status()

    def limit(self, path: str, status: int = 200, **limits: int) -> Any:
        answer = self.client.put(f"/api/v1/limits/{path}", json=limits)
        assert answer.status_code == status, answer.text
        return answer.json()

    def compose(self, *device_ids: str) -> None:
        for device_id in device_ids:
            with self.hub.database.transaction() as session:
                refresh_desired(
                    session, self.hub.director, self.hub.version_keys, device_id, utc_now(), timedelta(days=30)
                )

    def told(self) -> set[str]:
        """Compose what is stale, as the controller does, and return for which devices that was."""
        with self.hub.database.session() as session:
            stale = set(stale_devices(session, 100))
        self.compose(*stale)
        return stale

    def config(self, device_id: str) -> DesiredConfig:
        return self.state(device_id).config

    def state(self, device_id: str) -> DesiredState:
        with self.hub.database.session() as session:
            envelope = session.get_one(DesiredRow, device_id).envelope
        payload = base64.b64decode(json.loads(envelope)["payload"])
        return DesiredState.model_validate_json(payload)

    def caps(self) -> list[int | None]:
        return [self.config(one).max_fetch_bytes_per_s for one in (self.one, self.two, self.alone)]


@pytest.fixture
def fleet(hub: HubContext, client: TestClient) -> Fleet:
    return Fleet(hub, client)


def test_a_device_s_limit_comes_before_its_group_s_and_that_before_the_fleet_s(fleet: Fleet) -> None:
    fleet.limit("fleet", max_fetch_bytes_per_s=1000, max_bytes_per_month=10**9)
    assert fleet.told() == {fleet.one, fleet.two, fleet.alone}
    assert fleet.caps() == [1000, 1000, 1000]
    fleet.limit("groups/greenhouse", max_fetch_bytes_per_s=2000)
    assert fleet.told() == {fleet.one, fleet.two}
    fleet.limit(f"devices/{fleet.one}", max_fetch_bytes_per_s=3000)
    assert fleet.told() == {fleet.one}
    assert fleet.caps() == [3000, 2000, 1000]
    assert fleet.config(fleet.one).max_bytes_per_month == 10**9, "each value by itself"


def test_a_limit_that_is_taken_away_leaves_it_to_the_wider_scope(fleet: Fleet) -> None:
    fleet.limit("fleet", max_fetch_bytes_per_s=1000)
    fleet.limit("groups/greenhouse", max_fetch_bytes_per_s=2000)
    fleet.limit("groups/greenhouse")
    fleet.told()
    assert fleet.caps() == [1000, 1000, 1000]
    fleet.limit("fleet")
    fleet.told()
    assert fleet.caps() == [None, None, None]


def test_a_device_that_moves_to_another_group_is_told_of_that_group_s_limits(fleet: Fleet) -> None:
    fleet.limit("groups/greenhouse", max_fetch_bytes_per_s=2000)
    fleet.told()
    fleet.client.patch(f"/api/v1/devices/{fleet.alone}", json={"group": "greenhouse"}).raise_for_status()
    assert fleet.told() == {fleet.alone}
    assert fleet.caps() == [2000, 2000, 2000]


def test_of_the_groups_that_a_device_is_in_the_tightest_limit_holds_value_by_value(fleet: Fleet) -> None:
    fleet.make_group("meadow", devices=[fleet.one, fleet.alone])
    fleet.make_group("orchard", devices=[fleet.one])
    fleet.limit("groups/greenhouse", max_fetch_bytes_per_s=2000, max_bytes_per_month=900)
    fleet.limit("groups/meadow", max_fetch_bytes_per_s=1000)
    fleet.told()
    fleet.limit("groups/orchard", max_bytes_per_month=500, max_fetch_bytes_per_s=5000)
    assert fleet.told() == {fleet.one}
    assert fleet.caps() == [1000, 2000, 1000]
    assert [fleet.config(one).max_bytes_per_month for one in (fleet.one, fleet.two)] == [500, 900]


def test_a_device_that_a_group_begins_or_ceases_to_list_is_told_of_its_limits(fleet: Fleet) -> None:
    fleet.make_group("meadow")
    fleet.limit("groups/meadow", max_fetch_bytes_per_s=1000)
    assert fleet.told() == set()
    fleet.client.patch("/api/v1/groups/meadow", json={"add": [fleet.alone]}).raise_for_status()
    assert fleet.told() == {fleet.alone}
    assert fleet.caps() == [None, None, 1000]
    fleet.client.patch("/api/v1/groups/meadow", json={"remove": [fleet.alone]}).raise_for_status()
    assert fleet.told() == {fleet.alone}
    assert fleet.caps() == [None, None, None]


def test_a_group_that_ends_takes_its_limits_along(fleet: Fleet) -> None:
    fleet.make_group("meadow", devices=[fleet.alone])
    fleet.limit("groups/meadow", max_fetch_bytes_per_s=1000)
    fleet.told()
    fleet.client.delete("/api/v1/groups/meadow").raise_for_status()
    assert fleet.told() == {fleet.alone}
    assert fleet.caps() == [None, None, None]
    assert fleet.client.get("/api/v1/limits").json() == []
    fleet.make_group("meadow", devices=[fleet.alone])
    fleet.told()
    assert fleet.caps() == [None, None, None], "another group of the name begins without"


def test_a_group_that_is_not_there_or_dynamic_has_no_limits_and_says_why(fleet: Fleet) -> None:
    fleet.make_group("online", query="presence = online")
    assert "it is dynamic" in fleet.limit("groups/online", 409, max_bytes_per_month=5)["error"]["message"]
    assert "no group nowhere" in fleet.limit("groups/nowhere", 404, max_bytes_per_month=5)["error"]["message"]
    assert fleet.client.get("/api/v1/limits").json() == []


def test_what_a_device_s_configuration_names_itself_stays(fleet: Fleet) -> None:
    fleet.limit("fleet", max_fetch_bytes_per_s=1000)
    path = f"/api/v1/devices/{fleet.one}/config"
    fleet.client.put(path, json={"heartbeat_s": 60, "max_fetch_bytes_per_s": 500}).raise_for_status()
    fleet.told()
    assert (fleet.config(fleet.one).heartbeat_s, fleet.caps()) == (60, [500, 1000, 1000])


@pytest.mark.parametrize(
    ("kind", "is_urgent"), [("rollout", False), ("default", False), ("rollback", True), ("pin", True)]
)
def test_a_rollback_and_a_pin_are_urgent_and_nothing_else_is(fleet: Fleet, kind: IntentKind, is_urgent: bool) -> None:
    manifest = ArtifactRef(sha256="0" * 64, size_bytes=1)
    body = DesiredModel(version=1, target="t", manifest=manifest, deployment="dp-1", is_urgent=not is_urgent)
    with fleet.hub.database.transaction() as session:
        set_intent(session, fleet.one, "models/digits", kind=kind, owner="rollout/r-1", body=body, now=NOON)
    fleet.told()
    assert fleet.state(fleet.one).models["digits"].is_urgent is is_urgent


@pytest.mark.parametrize(("kind", "is_urgent"), [("rollout", False), ("rollback", True)])
def test_what_a_rollout_tells_many_devices_is_urgent_on_the_way_back_alone(
    fleet: Fleet, kind: IntentKind, is_urgent: bool
) -> None:
    manifest = ArtifactRef(sha256="0" * 64, size_bytes=1)
    body = DesiredModel(version=1, target="t", manifest=manifest, deployment="dp-1")
    with fleet.hub.database.transaction() as session:
        bodies = {fleet.one: body}
        replace_intents(session, "models/digits", kind=kind, owner="rollout/r-1", bodies=bodies, replaces=(), now=NOON)
    fleet.told()
    assert fleet.state(fleet.one).models["digits"].is_urgent is is_urgent


def test_limits_are_listed_and_bad_ones_refused(fleet: Fleet) -> None:
    fleet.limit("groups/greenhouse", max_bytes_per_month=5)
    (shown,) = fleet.client.get("/api/v1/limits").json()
    assert (shown["scope"], shown["name"], shown["max_bytes_per_month"]) == ("groups", "greenhouse", 5)
    fleet.limit("fleet", 422, max_fetch_bytes_per_s=0)
    fleet.limit("fleet", 422, max_bytes_per_month=2**63)
    fleet.limit("devices/d-bbbbbbbbbbbbbbbb", 404, max_bytes_per_month=1)
    with fleet.hub.database.transaction() as session:
        gone = add_device(session, revoked_at=NOON).id
    assert "revoked" in fleet.limit(f"devices/{gone}", 409, max_bytes_per_month=1)["error"]["message"]
