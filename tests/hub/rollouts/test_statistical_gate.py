"""A rollout whose waves pass a gate: windows of canaries and controls decide, on both engines."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import col, select
from tests.hub.rollouts.test_rollout_routes import TARGET, URL, Fleet
from tests.simulators.reconcile import reconcile_rollouts

from shoal_contract.reported import ModelReport, SlotReport
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.gates.tables import GateLook, Vitals
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.rollouts.tables import Deployment

DEVICES, CANARIES, REQUESTS, LABELLED = 24, 12, 400, 100
GATE = {"metrics": [{"name": "error_rate", "margin": 0.02}], "min_devices": 10}


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    """Devices that serve version 1 well."""
    fleet = Fleet(hub, DEVICES)
    active = ModelReport(active=SlotReport(version=1, target=TARGET, sha256="0" * 64, state="good"))
    for device_id in fleet.ids:
        fleet.report(device_id, models={"digits": active})
    return fleet


def start(client: TestClient, fleet: Fleet, **changes: Any) -> str:
    body = {"model": "digits", "version": "2", "devices": fleet.ids, "waves": [CANARIES, 1], "gate": GATE} | changes
    answer = client.post(URL, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def step(hub: HubContext, seconds: float = 0) -> None:
    for _ in range(20):
        if not reconcile_rollouts(hub.database, utc_now() + timedelta(seconds=seconds)):
            return


def canaries_of(hub: HubContext, rollout: str) -> list[str]:
    with hub.database.session() as session:
        wanted = select(Deployment.device_id).where(Deployment.rollout_id == rollout, Deployment.wave == 0)
        return list(session.exec(wanted.order_by(col(Deployment.device_id))))


def tell_windows(
    hub: HubContext, devices: list[str], version: int, rate: float, *, at_s: float, seed: int = 0, wrong: float = 0.0
) -> None:
    """Have each device tell a window with errors drawn at a rate, and with wrong labels, as far as any came back."""
    random, at = np.random.default_rng(seed), utc_now() + timedelta(seconds=at_s)
    latency = [0] * (len(LATENCY_EDGES_MS) + 1)
    latency[3] = REQUESTS
    with hub.database.transaction() as session:
        for device_id in devices:
            session.add(
                WindowRow(
                    device_id=device_id,
                    model="digits",
                    version=version,
                    started_at=at,
                    ended_at=at,
                    requests=REQUESTS,
                    samples=REQUESTS,
                    errors=int(random.binomial(REQUESTS, rate)),
                    features=b"",
                    missing=b"",
                    predictions=[],
                    confidence=[],
                    latency=latency,
                    labelled=LABELLED if wrong else 0,
                    correct=int(random.binomial(LABELLED, 1 - wrong)) if wrong else 0,
                )
            )


def first_wave_serves(client: TestClient, hub: HubContext, fleet: Fleet, **changes: Any) -> tuple[str, list[str]]:
    tell_windows(hub, fleet.ids, 1, 0.05, at_s=-600, seed=1)
    rollout = start(client, fleet, **changes)
    step(hub)
    canaries = canaries_of(hub, rollout)
    fleet.obey(*canaries)
    step(hub)
    return rollout, canaries


def shown(client: TestClient, rollout: str) -> Any:
    return client.get(f"{URL}/{rollout}").json()


def test_a_wave_is_held_until_something_is_shown_and_then_the_next_one_begins(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries = first_wave_serves(client, hub, fleet)
    found = shown(client, rollout)
    assert (found["state"], found["current_wave"], found["waits_for"]) == ("running", 0, "gate")
    controls = sorted(set(fleet.ids) - set(canaries))
    for number in range(6):
        tell_windows(hub, canaries, 2, 0.05, at_s=10 + number, seed=2 + number)
        tell_windows(hub, controls, 1, 0.05, at_s=10 + number, seed=20 + number)
    step(hub, 120)
    found = shown(client, rollout)
    assert (found["state"], found["current_wave"]) == ("running", 1)
    assert [one["verdict"] for one in found["gates"]] == ["advance"]
    (metric,) = found["gates"][0]["metrics"]
    assert (metric["canary"]["devices"], metric["control"]["devices"]) == (CANARIES, DEVICES - CANARIES)
    assert metric["canary"]["before"] == pytest.approx(0.05, abs=0.02)


def test_harm_on_canaries_aborts_and_takes_them_back(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, canaries = first_wave_serves(client, hub, fleet)
    controls = sorted(set(fleet.ids) - set(canaries))
    for number in range(6):
        tell_windows(hub, canaries, 2, 0.12, at_s=10 + number, seed=2 + number)
        tell_windows(hub, controls, 1, 0.05, at_s=10 + number, seed=20 + number)
    step(hub, 120)
    found = shown(client, rollout)
    assert found["state"] == "aborted"
    assert "error_rate: harm above the tolerance" in found["reason"]
    assert [fleet.wanted(device_id) for device_id in canaries] == [[]] * CANARIES, "it wants nothing of them any more"


def test_a_bad_day_for_everybody_is_no_harm(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, canaries = first_wave_serves(client, hub, fleet)
    controls = sorted(set(fleet.ids) - set(canaries))
    for number in range(6):
        tell_windows(hub, canaries, 2, 0.2, at_s=10 + number, seed=2 + number)
        tell_windows(hub, controls, 1, 0.2, at_s=10 + number, seed=20 + number)
    step(hub, 120)
    assert shown(client, rollout)["state"] == "running"


def test_what_a_canary_served_before_its_update_says_nothing_of_the_new_version(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries = first_wave_serves(client, hub, fleet)
    controls = sorted(set(fleet.ids) - set(canaries))
    for number in range(6):
        tell_windows(hub, canaries, 1, 0.5, at_s=10 + number, seed=2 + number)
        tell_windows(hub, controls, 1, 0.05, at_s=10 + number, seed=20 + number)
    step(hub, 120)
    found = shown(client, rollout)
    assert found["state"] == "running"
    assert found["gates"][-1]["metrics"][0]["canary"]["samples"] == 0


def test_a_gate_is_looked_at_as_often_as_the_plan_says(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, _ = first_wave_serves(client, hub, fleet, gate=GATE | {"look_s": 600})
    looked: set[tuple[int, datetime]] = set()
    for seconds in (10, 20, 500, 700, 710):
        step(hub, seconds)
        with hub.database.session() as session:
            looks = session.exec(select(GateLook).where(GateLook.rollout_id == rollout)).all()
            looked.add((len(looks), looks[-1].at))
    assert [count for count, _ in sorted(looked)] == [1, 1], "two looks, of which the second says the same"


def test_a_small_fleet_is_decided_by_the_hard_limits_and_that_is_said(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    fleet.ids = fleet.ids[:4]
    tell_windows(hub, fleet.ids, 1, 0.05, at_s=-600)
    rollout = start(client, fleet, waves=[2, 1], gate=GATE)
    step(hub)
    canaries = canaries_of(hub, rollout)
    fleet.obey(*canaries)
    step(hub)
    tell_windows(hub, canaries, 2, 0.05, at_s=10)
    tell_windows(hub, sorted(set(fleet.ids) - set(canaries)), 1, 0.05, at_s=10)
    step(hub, 120)
    found = shown(client, rollout)
    assert (found["current_wave"], found["gates"][0]["tested"]) == (1, "not_tested")
    assert "not tested" in found["gates"][0]["reason"]


def test_the_first_canaries_of_a_wave_that_is_large_enough_for_a_test_do_not_abort_it(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout = start(client, fleet)
    step(hub)
    canaries = canaries_of(hub, rollout)
    fleet.obey(*canaries[:3])
    step(hub)
    tell_windows(hub, canaries[:3], 2, 0.2, at_s=10)
    tell_windows(hub, sorted(set(fleet.ids) - set(canaries)), 1, 0.05, at_s=10)
    step(hub, 120)
    found = shown(client, rollout)
    (gate,) = found["gates"]
    assert (found["state"], gate["verdict"], gate["tested"]) == ("running", "hold", "not_tested")
    assert "3 canaries have samples, a test needs 10" in gate["reason"]


def test_nothing_is_shown_for_the_plans_time_and_a_stated_rule_decides(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, _ = first_wave_serves(client, hub, fleet, gate=GATE | {"max_hold_s": 3600, "undecided": "abort"})
    step(hub, 3000)
    assert shown(client, rollout)["state"] == "running"
    step(hub, 4000)
    found = shown(client, rollout)
    assert (found["state"], "nothing was shown within 3600 s" in found["reason"]) == ("aborted", True)


def test_vital_signs_are_watched_from_the_start_to_the_end(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout = start(client, fleet, gate={"metrics": [{"name": "memory"}]})
    with hub.database.session() as session:
        assert len(session.exec(select(Vitals)).all()) == DEVICES
    client.post(f"{URL}/{rollout}/abort").raise_for_status()
    with hub.database.session() as session:
        assert session.exec(select(Vitals)).all() == []


def test_a_wave_in_which_every_device_failed_is_not_held_for_ever(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    undecided = GATE | {"max_hold_s": 3600, "undecided": "abort"}
    rollout = start(client, fleet, waves=[1, 23], max_failures=1, gate=undecided)
    step(hub)
    fleet.obey(*canaries_of(hub, rollout), state="failed")
    step(hub)
    assert shown(client, rollout)["waits_for"] == "gate"
    step(hub, 4000)
    assert shown(client, rollout)["state"] == "aborted"


def test_canaries_that_have_gone_silent_let_no_wave_pass(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, canaries = first_wave_serves(client, hub, fleet, gate=GATE | {"max_hold_s": 3600})
    tell_windows(hub, sorted(set(fleet.ids) - set(canaries)), 1, 0.05, at_s=10)
    step(hub, 4000)
    found = shown(client, rollout)
    assert (found["state"], found["current_wave"]) == ("running", 0)
    assert "a person decides" in found["gates"][0]["reason"]


def test_one_rollout_whose_evidence_can_not_be_read_holds_and_the_others_go_on(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries = first_wave_serves(client, hub, fleet)
    with hub.database.transaction() as session:
        for row in session.exec(select(WindowRow)).all():
            row.latency = [-(2**40)] * len(row.latency)
    tell_windows(hub, canaries, 2, 0.05, at_s=10)
    step(hub, 120)
    assert shown(client, rollout)["state"] == "running"
    client.post(f"{URL}/{rollout}/abort").raise_for_status()


def test_a_paused_rollout_is_not_aborted_by_time(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, _ = first_wave_serves(client, hub, fleet, gate=GATE | {"max_hold_s": 3600, "undecided": "abort"})
    client.post(f"{URL}/{rollout}/pause").raise_for_status()
    step(hub, 40_000)
    assert shown(client, rollout)["state"] == "paused"


def test_what_is_only_downloaded_has_no_gate(client: TestClient, fleet: Fleet) -> None:
    body = {"model": "digits", "version": "2", "devices": fleet.ids, "gate": GATE, "policy": {"download_only": True}}
    assert client.post(URL, json=body).status_code == 422
