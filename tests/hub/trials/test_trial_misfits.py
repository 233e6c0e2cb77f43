"""Devices that a trial does not fit are left out at its start and told with the reason; nothing is brought to them."""

from dataclasses import replace
from typing import Any

from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.trials.test_trials import TARGET, URL, fleet, serving, told
from tests.simulators.delta_fleet import OWN_KEY
from tests.simulators.rows import add_device, add_version, make_report

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.registry.tables import VariantRow

__all__ = ["fleet"]


def start(client: TestClient, status: int = 201, **changes: Any) -> Any:
    answer = client.post(URL, json={"model": "digits", "version": "2"} | changes)
    assert answer.status_code == status, answer.text
    return answer.json()


def codes(trial: Any) -> dict[str, str]:
    return {one["device_id"]: one["problem"]["code"] for one in trial["misfits"]}


def report(hub: HubContext, device_id: str, version: int = 1, **changes: Any) -> None:
    with hub.database.transaction() as session:
        said = make_report(models={"digits": serving(version)}, **changes)
        session.get_one(Device, device_id).reported = said.model_dump(mode="json")


def test_a_device_without_a_variant_is_left_out_with_the_reason_and_told_nothing(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    report(hub, fleet[0], targets=("jetson-orin-onnx-fp16",))
    report(hub, fleet[1], version=2)
    trial = start(client)
    assert codes(trial) == {fleet[0]: "no_variant"}, "who serves another version was not asked for"
    problem = trial["misfits"][0]["problem"]
    assert "jetson-orin-onnx-fp16" in problem["message"]
    assert TARGET in problem["message"]
    assert {one["device_id"] for one in trial["devices"]} == set(fleet[2:])
    assert told(hub, fleet[0]) == []
    with hub.database.session() as session:
        (text,) = session.exec(select(EventRow.message).where(EventRow.kind == "trial_started"))
    assert "1 left out" in text


def test_of_devices_that_were_named_each_that_can_not_take_part_is_told(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    report(hub, fleet[0], version=2)
    with hub.database.transaction() as session:
        fresh = add_device(session, name="fresh").id
    trial = start(client, devices=[*fleet[:2], fresh], against=1)
    assert codes(trial) == {fleet[0]: "serves_other", fresh: "serves_other"}
    assert [one["device_id"] for one in trial["devices"]] == [fleet[1]]


def test_a_pinned_device_is_left_out_of_what_answers_and_told(client: TestClient, fleet: list[str]) -> None:
    client.put(f"/api/v1/devices/{fleet[0]}/pins/digits", json={"version": "1"}).raise_for_status()
    assert codes(start(client, mode="ab")) == {fleet[0]: "pinned"}


def test_an_encrypted_candidate_is_not_brought_to_who_has_told_no_key(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 3, {TARGET: b"secret" * 1000}, is_encrypted=True)
        session.get_one(Device, fleet[3]).encryption_key = OWN_KEY
    trial = start(client, version="3")
    assert codes(trial) == dict.fromkeys([*fleet[:3], *fleet[4:]], "no_encryption_key")
    assert [one["device_id"] for one in trial["devices"]] == [fleet[3]]


def test_a_variant_that_takes_more_memory_than_the_trial_allows_is_brought_to_nobody(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    with hub.database.transaction() as session:
        for row in session.exec(select(VariantRow)):
            row.report = {"memory_bytes": 3_000_000}
            session.add(row)
    refused = start(client, 409, max_memory_bytes=2_000_000)["error"]["message"]
    assert f"{fleet[0]}: the variant for {TARGET} took 3000000 bytes of memory" in refused
    assert codes(start(client, max_memory_bytes=3_000_000)) == {}


def test_a_version_that_is_too_large_to_travel_is_refused(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    assert fleet
    settings = hub.settings.model_copy(update={"max_artifact_bytes": 999})
    strict = TestClient(create_app(replace(hub, settings=settings)), headers=client.headers)
    assert "999 is the most that travels" in start(strict, 409)["error"]["message"]
