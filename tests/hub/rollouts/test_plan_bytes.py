"""Bytes in the dry run, by way and budget, and what a rollout then shows of them beside what was fetched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.rollouts.test_preview import plan
from tests.hub.rollouts.test_rollout_routes import URL, Fleet
from tests.simulators.delta_fleet import SIZE
from tests.simulators.delta_fleet import Fleet as DeltaFleet
from tests.simulators.rows import NOON, add_device

from shoal_contract.ledger import LedgerTotals, month_of, next_month
from shoal_contract.telemetry import DeploymentEvent
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.rollouts.preview import preview
from shoal_hub.rollouts.progress import note_steps
from shoal_hub.rollouts.request import RolloutRequest
from shoal_hub.rollouts.start import start_request, starter_of
from shoal_hub.rollouts.tables import Deployment
from shoal_hub.sites.membership import Layout, create_site
from shoal_hub.traffic.limits import Limits, set_limits
from shoal_hub.traffic.take import take_totals


def by_id(planned: Any) -> dict[str, Any]:
    return {one["device_id"]: one for one in planned["devices"]}


def limit(hub: HubContext, device_id: str, bytes_per_month: int) -> None:
    with hub.database.transaction() as session:
        set_limits(session, "devices", device_id, Limits(max_bytes_per_month=bytes_per_month), by="ada", now=NOON)


def test_members_of_a_site_take_from_its_cache_what_an_earlier_wave_has_brought_there(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    fleet = DeltaFleet(hub, tmp_path, count=3)
    cache, *members = fleet.ids
    with hub.database.transaction() as session:
        create_site(session, "lan", Layout(cache, "10.0.0.1", 8471, set(members)), by="ada", now=NOON)
    planned = plan(client, devices=fleet.ids, waves=[1, 2])
    assert [one["transfer"] for one in planned["devices"]] == ["broker", "cache", "cache"]
    shown = by_id(planned)
    assert shown[cache]["uplink_bytes"] > SIZE > 10 * shown[members[0]]["uplink_bytes"] > 0
    assert planned["uplink_bytes"] == sum(one["uplink_bytes"] for one in planned["devices"]) < 1.2 * SIZE
    at_once = plan(client, devices=fleet.ids)
    assert [one["transfer"] for one in at_once["devices"]] == ["broker"] * 3


def test_what_a_month_s_budget_would_hold_back_is_shown_with_until_when(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    fleet = DeltaFleet(hub, tmp_path, count=3)
    tight, spent, free = fleet.ids
    limit(hub, tight, SIZE)
    limit(hub, spent, 2 * SIZE)
    limit(hub, free, 2 * SIZE)
    month = month_of(utc_now())
    fleet_spends = {"stream": 1, "months": {month: {"control": {"sent_bytes": SIZE}}}}
    tell_totals(hub, spent, fleet_spends)
    planned = plan(client, devices=fleet.ids)
    shown = by_id(planned)
    assert planned["held_by_budget"] == 2
    names = ("is_held_by_budget", "held_until", "budget_left_bytes")
    assert [shown[tight][name] for name in names] == [True, None, SIZE], "no month has room for it"
    assert shown[spent]["is_held_by_budget"]
    assert shown[spent]["held_until"].startswith(f"{next_month(month):%Y-%m-%dT00:00:00}")
    assert [shown[free][name] for name in names] == [False, None, 2 * SIZE]


def tell_totals(hub: HubContext, device_id: str, totals: Any) -> None:
    with hub.database.transaction() as session:
        take_totals(session, {device_id: [LedgerTotals.model_validate(totals)]}, utc_now())


@pytest.mark.parametrize(("budget_bytes", "way"), [(100_000, "broker"), (1000, "https")])
def test_a_file_that_the_broker_has_no_room_for_is_planned_over_https(
    hub: HubContext, budget_bytes: int, way: str
) -> None:
    fleet = Fleet(hub, 1)
    request = RolloutRequest(model="digits", version="2", devices=fleet.ids)
    starter = replace(starter_of(hub, is_rehearsal=True), retained_budget_bytes=budget_bytes)
    with hub.database.rehearsal() as trial:
        rollout = start_request(trial, starter, request, by="ada")
        (planned,) = preview(trial, rollout, NOON, budget_bytes).devices
    assert (planned.transfer, planned.uplink_bytes > 1000) == (way, True)


def test_a_rollout_keeps_the_plan_s_forecast_beside_what_was_fetched(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    fleet = DeltaFleet(hub, tmp_path, count=2)
    first, other = fleet.ids
    manifest_bytes = plan(client, devices=[first])["transfer_bytes"] - SIZE
    planned = plan(client, devices=fleet.ids)
    rollout_id = client.post(URL, json={"model": "digits", "version": "2", "devices": fleet.ids}).json()["id"]
    with hub.database.session() as session:
        kept = dict(
            session.exec(
                select(Deployment.device_id, Deployment.forecast_bytes).where(Deployment.rollout_id == rollout_id)
            ).all()
        )
    assert kept == {one: shown["transfer_bytes"] - manifest_bytes for one, shown in by_id(planned).items()}
    shown = client.get(f"{URL}/{rollout_id}").json()
    assert (shown["forecast_bytes"], shown["forecast_total_bytes"]) == (0, 2 * SIZE)
    with hub.database.transaction() as session:
        told = {"model": "digits", "version": 2, "step": "stage", "fetched_bytes": SIZE + 7}
        deployment = session.exec(
            select(Deployment).where(Deployment.device_id == first, Deployment.rollout_id == rollout_id)
        ).one()
        note_steps(session, [(first, DeploymentEvent(deployment=deployment.id, **told))], NOON)
    shown = client.get(f"{URL}/{rollout_id}").json()
    names = ("fetched_bytes", "forecast_bytes", "whole_bytes", "forecast_total_bytes")
    assert [shown[name] for name in names] == [SIZE + 7, SIZE, 0, 2 * SIZE]
    of_device = {one["device_id"]: one["forecast_bytes"] for one in shown["deployments"]}
    assert of_device == {first: SIZE, other: SIZE}


def test_who_joins_late_is_forecast_as_well(client: TestClient, hub: HubContext) -> None:
    fleet = Fleet(hub, 1)
    body = {"model": "digits", "version": "2", "late_joiners": "last_wave"}
    rollout_id = client.post(URL, json=body).json()["id"]
    with hub.database.transaction() as session:
        late = add_device(session).id
    fleet.report(late)
    fleet.settle(seconds=120)
    shown = client.get(f"{URL}/{rollout_id}").json()
    assert {one["device_id"]: one["forecast_bytes"] for one in shown["deployments"]} == {fleet.ids[0]: 1000, late: 1000}
