"""The dry run on both engines: what each device would get, and that it is what the start then does."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.rollouts.test_rollout_routes import OWN_KEY, TARGET, URL, Fleet
from tests.simulators.delta_fleet import SIZE, file_of
from tests.simulators.delta_fleet import Fleet as DeltaFleet
from tests.simulators.rows import add_version

from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Device
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.tables import VariantRow
from shoal_hub.rollouts.tables import Rollout


def plan(client: TestClient, **changes: Any) -> Any:
    answer = client.post(f"{URL}/plan", json={"model": "digits", "version": "2"} | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_plan_makes_the_choice_that_the_start_makes_with_its_seed(client: TestClient, hub: HubContext) -> None:
    Fleet(hub, 8)
    planned = plan(client, waves=["25%", "100%"], holdback_percent=25)
    started = client.post(
        URL,
        json={
            "model": "digits",
            "version": "2",
            "waves": ["25%", "100%"],
            "holdback_percent": 25,
            "seed": planned["seed"],
        },
    ).json()
    assert planned["waves"] == started["waves"] == [2, 4]
    waves = {one["device_id"]: one["wave"] for one in planned["devices"] if not one["is_held_back"]}
    assert waves == {one["device_id"]: one["wave"] for one in started["deployments"] if one["state"] != "held_back"}
    assert planned["held_back"] == 2


def test_nothing_of_a_plan_is_kept(client: TestClient, hub: HubContext, tmp_path: Path) -> None:
    fleet = DeltaFleet(hub, tmp_path)
    fleet.report(fleet.ids[0], 1)
    with hub.database.session() as session:
        rollouts = len(session.exec(select(Rollout)).all())
    assert plan(client)["devices"][0]["transfer"] == "delta_to_come"
    with hub.database.session() as session:
        assert len(session.exec(select(Rollout)).all()) == rollouts
        assert session.exec(select(Job)).all() == []
    assert fleet.deltas() == []


def _files(hub: HubContext) -> dict[str, bytes]:
    """Return what lies in the hub's data folder beside its database: artifacts, keys."""
    found = {one for one in hub.settings.data.rglob("*") if one.is_file() and not one.name.startswith("hub.sqlite")}
    return {str(one): one.read_bytes() for one in found}


def test_a_plan_of_an_encrypted_version_that_was_never_started_writes_no_file_and_no_key(
    client: TestClient, hub: HubContext
) -> None:
    fleet = Fleet(hub, 1)
    with hub.database.transaction() as session:
        session.get_one(Device, fleet.ids[0]).encryption_key = OWN_KEY
        add_version(session, hub.artifacts, 3, {TARGET: b"secret" * 1000}, is_encrypted=True)
        add_version(session, hub.artifacts, 1, {TARGET: b"other" * 1000}, "other", is_encrypted=True)
    client.post(URL, json={"model": "digits", "version": "1"}).raise_for_status()  # makes the trust's first keys
    before = _files(hub)
    assert plan(client, model="other", version="1")["devices"][0]["target"] == TARGET
    assert _files(hub) == before
    client.post(URL, json={"model": "other", "version": "1"}).raise_for_status()
    assert len(_files(hub)) > len(before), "a start does write"


def test_each_device_is_shown_with_the_bytes_that_would_travel(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    fleet = DeltaFleet(hub, tmp_path, count=3)
    old, fresh, there = fleet.ids
    fleet.report(old, 1)
    fleet.report(there, 2)
    fleet.roll_out(2)
    fleet.do_jobs()
    fleet.publish()
    fleet.end()
    (delta,) = fleet.deltas()
    planned = plan(client, devices=fleet.ids)
    shown = {one["device_id"]: one for one in planned["devices"]}
    with hub.database.session() as session:
        rollout = session.exec(select(Rollout).where(Rollout.version == 2)).one()
    manifest_bytes = rollout.manifest_size_bytes
    assert [shown[one]["transfer"] for one in (old, fresh, there)] == ["delta", "broker", "none"]
    assert (shown[old]["sha256"], shown[old]["from_version"]) == (delta.artifact_sha256, 1)
    assert delta.size_bytes is not None
    assert shown[old]["transfer_bytes"] == manifest_bytes + delta.size_bytes
    assert (shown[fresh]["sha256"], shown[fresh]["transfer_bytes"]) == (fleet.travels(2), manifest_bytes + SIZE)
    assert shown[there]["transfer_bytes"] == manifest_bytes
    assert planned["transfer_bytes"] == 3 * manifest_bytes + delta.size_bytes + SIZE
    assert planned["whole_bytes"] == 3 * (manifest_bytes + len(file_of(2)))


def test_misfits_are_shown_with_why_and_take_nothing(client: TestClient, hub: HubContext) -> None:
    fleet = Fleet(hub, 3)
    fits, misfit, silent = fleet.ids
    fleet.report(misfit, targets=("esp32",))
    with hub.database.transaction() as session:
        session.get_one(Device, silent).reported = None
    planned = plan(client, devices=fleet.ids)
    shown = {one["device_id"]: one for one in planned["devices"]}
    assert (planned["misfits"], planned["not_reported"]) == (1, 1)
    assert shown[misfit]["problem"]["code"] == "no_variant"
    assert shown[misfit]["transfer_bytes"] == shown[silent]["transfer_bytes"] == 0
    assert shown[fits]["problem"] is None
    with hub.database.transaction() as session:
        session.get_one(Device, fits).encryption_key = OWN_KEY
        add_version(session, hub.artifacts, 3, {TARGET: b"secret" * 1000}, is_encrypted=True)
    fleet.report(misfit)
    sealed = {one["device_id"]: one for one in plan(client, version="3", devices=fleet.ids)["devices"]}
    assert (sealed[fits]["problem"], sealed[misfit]["problem"]["code"]) == (None, "no_encryption_key")


def test_figures_are_those_of_the_registry_and_what_was_not_measured_is_not_made_up(
    client: TestClient, hub: HubContext
) -> None:
    Fleet(hub, 1)
    unmeasured = plan(client)
    assert unmeasured["variants"][0]["latency_p95_ms"] is None
    assert unmeasured["devices"][0]["measured_on"] == "nothing"
    with hub.database.transaction() as session:
        for row in session.exec(select(VariantRow)):
            row.latency_p50_ms, row.latency_p95_ms, row.report = 1.5, 2.5, {"memory_bytes": 4096}
            session.add(row)
    planned = plan(client)
    variant, device = planned["variants"][0], planned["devices"][0]
    assert (variant["latency_p50_ms"], variant["latency_p95_ms"], variant["memory_bytes"]) == (1.5, 2.5, 4096)
    assert (device["latency_p50_ms"], device["memory_bytes"], device["measured_on"]) == (1.5, 4096, "compression")
    assert (device["disk_bytes"], device["measured_devices"]) == (1000, 0)


def test_the_first_window_is_told_where_the_devices_time_zone_is_known(client: TestClient, hub: HubContext) -> None:
    fleet = Fleet(hub, 2)
    known, unknown = fleet.ids
    fleet.report(known, time_zone="Europe/Berlin")
    policy = {"windows": [{"start": "02:00", "minutes": 60}]}
    shown = {one["device_id"]: one for one in plan(client, policy=policy)["devices"]}
    assert shown[known]["opens_at"] is not None
    assert shown[unknown]["opens_at"] is None
    assert plan(client)["devices"][0]["opens_at"] is not None, "without windows it may at once, wherever it is"


@pytest.mark.parametrize(
    ("changes", "status"), [({"version": "9"}, 404), ({"waves": [0]}, 422), ({"devices": []}, 422)]
)
def test_a_plan_is_refused_for_what_a_start_is(
    client: TestClient, hub: HubContext, changes: dict[str, Any], status: int
) -> None:
    Fleet(hub, 1)
    assert client.post(f"{URL}/plan", json={"model": "digits", "version": "2"} | changes).status_code == status
