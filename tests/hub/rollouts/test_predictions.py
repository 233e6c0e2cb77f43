"""Predicted memory: who lacks it is warned of or refused, and what a first wave measured counts for the rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlmodel import select
from tests.hub.rollouts.test_preview import plan
from tests.hub.rollouts.test_rollout_routes import TARGET, URL, Fleet
from tests.simulators.rows import HARDWARE, NOON

from shoal_contract.ids import sha256_hex
from shoal_contract.telemetry import DeploymentEvent, VersionCost
from shoal_hub.context import HubContext
from shoal_hub.devices.intents import intents_of
from shoal_hub.registry.cost_tables import CostRow
from shoal_hub.registry.costs import Prediction
from shoal_hub.registry.tables import VariantRow
from shoal_hub.rollouts.memory import no_memory
from shoal_hub.rollouts.progress import note_steps

COST = VersionCost(sha256=sha256_hex(bytes([2]) * 1000), latency_p50_ms=7.5, runs=21, memory_bytes=50_000_000)


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    made = Fleet(hub, 6)
    with hub.database.transaction() as session:
        for row in session.exec(select(VariantRow)):
            row.latency_p50_ms, row.report = 1.5, {"memory_bytes": 10_000_000}
    return made


def measure(hub: HubContext, device_id: str) -> None:
    """Have a device tell what the version that it was given costs it, as its agent does."""
    with hub.database.transaction() as session:
        deployment = intents_of(session, device_id, "models/digits")[0].body["deployment"]
        note_steps(session, [(device_id, cost_event(deployment, COST.sha256, COST.memory_bytes))], NOON)


def cost_event(deployment: str, sha256: str, memory_bytes: int) -> DeploymentEvent:
    cost = COST.model_copy(update={"sha256": sha256, "memory_bytes": memory_bytes})
    return DeploymentEvent(model="digits", version=2, deployment=deployment, step="stage", cost=cost)


def start(client: TestClient, **changes: Any) -> Any:
    answer = client.post(URL, json={"model": "digits", "version": "2"} | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


def figures(planned: Any) -> list[tuple[Any, ...]]:
    names = ("latency_p50_ms", "memory_bytes", "measured_on", "measured_devices")
    return [tuple(one[name] for name in names) for one in planned["devices"]]


def test_after_a_first_wave_the_prediction_for_the_rest_is_what_it_measured(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    first, rest = fleet.ids[:3], fleet.ids[3:5]
    assert figures(plan(client, devices=rest)) == [(1.5, 10_000_000, "compression", 0)] * 2
    start(client, devices=first)
    fleet.settle()
    for device_id in first:
        measure(hub, device_id)
    fleet.obey(*first)
    fleet.settle()
    assert figures(plan(client, devices=rest)) == [(7.5, 50_000_000, "same_hardware", 3)] * 2
    fleet.report(rest[0], hardware=HARDWARE.model_copy(update={"model": "another board"}))
    assert figures(plan(client, devices=rest[:1])) == [(1.5, 10_000_000, "compression", 0)]


def test_a_running_rollout_refuses_in_its_next_wave_who_has_less_memory_than_the_first_one_measured(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    first, (enough, less) = fleet.ids[:3], fleet.ids[3:5]
    for device_id in first:
        fleet.report(device_id, memory_available_bytes=20_000_000)
    fleet.report(enough, memory_available_bytes=50_000_000)
    fleet.report(less, memory_available_bytes=49_999_999)
    rollout = start(client, devices=fleet.ids[:5], waves=[3, 2], on_low_memory="refuse", max_failures=3)
    fleet.settle()
    for device_id in first:
        measure(hub, device_id)
    fleet.obey(*first)
    fleet.settle()
    assert (fleet.wanted(enough), fleet.wanted(less)) == ([("rollout", 2)], [])
    shown = client.get(f"{URL}/{rollout['id']}").json()["deployments"]
    (refused,) = [one for one in shown if one["device_id"] == less]
    assert (refused["state"], refused["failure"], refused["problem"]["code"]) == ("failed", "misfit", "no_memory")
    assert "on 3 devices of the same hardware" in refused["problem"]["message"]


@contextmanager
def costs_read(hub: HubContext) -> Iterator[list[str]]:
    """What comes is a list with a statement for each time at which measurements are read."""
    read: list[str] = []

    def before(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "FROM version_costs" in statement:
            read.append(statement)

    event.listen(hub.database.engine, "before_cursor_execute", before)
    try:
        yield read
    finally:
        event.remove(hub.database.engine, "before_cursor_execute", before)


def test_measurements_are_read_where_devices_wait_to_be_told_and_for_nothing_else(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    """A median over a large fleet takes a while."""
    plan = {"on_low_memory": "refuse", "wave_approval": True, "waves": [3, 3]}
    rollout = start(client, devices=fleet.ids, **plan)
    with costs_read(hub) as read:
        fleet.settle()
        assert read, "the first wave waits to be told"
        read.clear()
        fleet.obey(*fleet.ids[:3])
        fleet.settle()
        client.get(f"{URL}/{rollout['id']}").raise_for_status()
        client.post(f"{URL}/{rollout['id']}/approve").raise_for_status()
        assert read == []
        fleet.settle()
        assert read, "the second wave waits to be told"
        read.clear()
        fleet.obey()
        fleet.settle()
        assert client.get(f"{URL}/{rollout['id']}").json()["state"] == "succeeded"
        another = start(client, devices=fleet.ids, version="1", on_low_memory="refuse")
        client.post(f"{URL}/{another['id']}/abort").raise_for_status()
        fleet.settle()
        assert read == []


def test_a_measurement_counts_for_the_file_that_the_named_deployment_gave_this_device_alone(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    first, rest = fleet.ids[:3], fleet.ids[3:]
    start(client, devices=first)
    fleet.settle()
    lie, of_version_1 = 2**50, sha256_hex(bytes([1]) * 1000)
    with hub.database.transaction() as session:
        mine = [intents_of(session, one, "models/digits")[0].body["deployment"] for one in first]
        told = [("dp-nobody", one, COST.sha256) for one in fleet.ids]
        told += [(deployment, other, COST.sha256) for deployment, other in zip(mine, rest, strict=True)]
        told += [(deployment, one, of_version_1) for deployment, one in zip(mine, first, strict=True)]
        note_steps(session, [(one, cost_event(name, file, lie)) for name, one, file in told], NOON)
        assert session.exec(select(CostRow)).all() == []
        note_steps(session, [(first[0], cost_event(mine[0], COST.sha256, 1))], NOON)
        assert [row.device_id for row in session.exec(select(CostRow))] == [first[0]]


@pytest.mark.parametrize("policy", ["warn", "refuse"])
def test_who_lacks_the_memory_is_warned_of_or_refused_as_the_plan_says(
    client: TestClient, fleet: Fleet, policy: str
) -> None:
    lacking, enough, silent = fleet.ids[:3]
    fleet.report(lacking, memory_available_bytes=9_999_999)
    fleet.report(enough, memory_available_bytes=10_000_000)
    planned = plan(client, devices=fleet.ids[:3], on_low_memory=policy)
    shown = {one["device_id"]: one for one in planned["devices"]}
    is_refused = policy == "refuse"
    assert (planned["warnings"], planned["misfits"]) == ((0, 1) if is_refused else (1, 0))
    assert shown[lacking]["problem" if is_refused else "warning"]["code"] == "no_memory"
    assert shown[lacking]["target"] == ("" if is_refused else TARGET)
    assert (shown[lacking]["uplink_bytes"] == 0) == is_refused
    assert [shown[one]["problem"] or shown[one]["warning"] for one in (enough, silent)] == [None, None]
    start(client, devices=fleet.ids[:3], on_low_memory=policy, max_failures=3)
    fleet.settle()
    assert bool(fleet.wanted(lacking)) != is_refused


def test_who_serves_the_version_already_has_the_memory_for_it(client: TestClient, fleet: Fleet) -> None:
    start(client, devices=fleet.ids[:1])
    fleet.settle()
    fleet.obey(fleet.ids[0])
    fleet.settle()
    fleet.report(
        fleet.ids[0],
        memory_available_bytes=1,
        models={"digits": {"active": {"version": 2, "target": TARGET, "sha256": "0" * 64, "state": "good"}}},
    )
    assert plan(client, devices=fleet.ids[:1], on_low_memory="refuse")["misfits"] == 0
    start(client, devices=fleet.ids[:1], on_low_memory="refuse")
    fleet.settle()
    assert fleet.wanted(fleet.ids[0]) == [("rollout", 2)]


def test_nothing_is_said_of_what_is_not_known() -> None:
    known = Prediction(1.0, 1000, "compression")
    assert no_memory(known, None) is None
    assert no_memory(replace(known, memory_bytes=None), 0) is None
    assert no_memory(known, 1000) is None
    problem = no_memory(known, 999)
    assert problem is not None
    assert "where it was compressed" in problem.message
