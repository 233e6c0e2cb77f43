"""The gate after the last wave: those held back are its controls, and the rollout has succeeded once it is let pass."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.rollouts.test_rollout_routes import TARGET, URL, Fleet
from tests.hub.rollouts.test_statistical_gate import DEVICES, GATE, step, tell_windows
from tests.simulators.rows import add_device

from shoal_contract.reported import ModelReport, SlotReport
from shoal_hub.context import HubContext
from shoal_hub.events.tables import EventRow
from shoal_hub.rollouts.tables import Deployment, Rollout

HELD_BACK = 12


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    """Devices that serve version 1 well."""
    fleet = Fleet(hub, DEVICES)
    active = ModelReport(active=SlotReport(version=1, target=TARGET, sha256="0" * 64, state="good"))
    for device_id in fleet.ids:
        fleet.report(device_id, models={"digits": active})
    tell_windows(hub, fleet.ids, 1, 0.05, at_s=-600, seed=1)
    return fleet


def serve(client: TestClient, hub: HubContext, fleet: Fleet, **changes: Any) -> tuple[str, list[str], list[str]]:
    """Start a rollout of one wave and have it obeyed; return its id, those that have it and those held back."""
    body = {"model": "digits", "version": "2", "devices": fleet.ids, "waves": [1.0], "gate": GATE}
    answer = client.post(URL, json=body | {"holdback_percent": 50} | changes)
    assert answer.status_code == 201, answer.text
    rollout = str(answer.json()["id"])
    step(hub)
    with hub.database.session() as session:
        wanted = select(Deployment).where(Deployment.rollout_id == rollout).order_by(Deployment.device_id)
        found = [(row.device_id, row.state == "held_back") for row in session.exec(wanted)]
    canaries = [device_id for device_id, is_held_back in found if not is_held_back]
    fleet.obey(*canaries)
    step(hub)
    return rollout, canaries, [device_id for device_id, is_held_back in found if is_held_back]


def tell(hub: HubContext, canaries: list[str], controls: list[str], *, rate: float) -> None:
    for number in range(6):
        tell_windows(hub, canaries, 2, rate, at_s=10 + number, seed=2 + number)
        tell_windows(hub, controls, 1, 0.05, at_s=10 + number, seed=20 + number)


def shown(client: TestClient, rollout: str) -> Any:
    return client.get(f"{URL}/{rollout}").json()


def test_a_rollout_succeeds_only_after_the_last_gate_and_with_the_whole_of_its_alpha(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries, held_back = serve(client, hub, fleet)
    assert len(held_back) == HELD_BACK
    found = shown(client, rollout)
    assert (found["state"], found["waits_for"], found["why_no_last_gate"]) == ("running", "gate", "")
    step(hub, 120)
    assert shown(client, rollout)["state"] == "running", "nothing is shown yet"
    tell(hub, canaries, held_back, rate=0.05)
    step(hub, 240)
    found = shown(client, rollout)
    assert (found["state"], found["gates"][0]["verdict"], found["gates"][0]["alpha_spent"]) == (
        "succeeded",
        "advance",
        pytest.approx(0.05),
    )
    (metric,) = found["gates"][0]["metrics"]
    assert (metric["canary"]["devices"], metric["control"]["devices"]) == (DEVICES - HELD_BACK, HELD_BACK)


def test_harm_that_the_last_wave_shows_takes_every_device_back(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries, held_back = serve(client, hub, fleet)
    tell(hub, canaries, held_back, rate=0.12)
    step(hub, 120)
    found = shown(client, rollout)
    assert (found["state"], "harm above the tolerance" in found["reason"]) == ("aborted", True)
    assert [fleet.wanted(device_id) for device_id in canaries] == [[]] * len(canaries), "it wants nothing any more"


def test_harm_leaves_the_devices_where_the_plan_says_so(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, canaries, held_back = serve(client, hub, fleet, on_abort="leave")
    tell(hub, canaries, held_back, rate=0.12)
    step(hub, 120)
    assert shown(client, rollout)["counts"] == {"succeeded": DEVICES - HELD_BACK, "held_back": HELD_BACK}
    assert shown(client, rollout)["state"] == "aborted"


@pytest.mark.parametrize(
    ("undecided", "state"), [("thresholds", "succeeded"), ("abort", "aborted"), ("hold", "running")]
)
def test_where_nothing_is_shown_for_its_time_the_stated_rule_decides_on_the_last_wave_too(
    client: TestClient, hub: HubContext, fleet: Fleet, undecided: str, state: str
) -> None:
    narrow = GATE | {"metrics": [{"name": "error_rate", "margin": 0.008}], "max_hold_s": 3600, "undecided": undecided}
    rollout, canaries, held_back = serve(client, hub, fleet, gate=narrow)
    tell_windows(hub, canaries, 2, 0.05, at_s=10, seed=2)
    tell_windows(hub, held_back, 1, 0.05, at_s=10, seed=20)
    step(hub, 3000)
    assert shown(client, rollout)["state"] == "running"
    step(hub, 4000)
    assert shown(client, rollout)["state"] == state


def test_two_waves_and_those_held_back_share_the_alpha_between_two_gates(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, *_ = serve(client, hub, fleet, waves=[6, 1.0])
    step(hub, 120)
    assert shown(client, rollout)["waves"] == [6, 6]
    assert shown(client, rollout)["gates"][0]["alpha_spent"] == pytest.approx(0.025)


def test_without_a_hold_back_the_rollout_ends_with_its_last_wave_and_says_why(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, *_ = serve(client, hub, fleet, holdback_percent=0)
    found = shown(client, rollout)
    assert (found["state"], found["gates"]) == ("succeeded", [])
    why = "the last wave has no gate: no device is held back to compare it with"
    assert found["why_no_last_gate"] == why
    with hub.database.session() as session:
        (event,) = session.exec(select(EventRow).where(EventRow.kind == "rollout_succeeded")).all()
    assert event.message.endswith(why)


def test_a_rollout_that_began_before_there_were_last_gates_ends_as_it_was_begun(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    body = {"model": "digits", "version": "2", "devices": fleet.ids, "gate": GATE, "holdback_percent": 50}
    rollout = client.post(URL, json=body | {"waves": [1.0]}).json()["id"]
    with hub.database.transaction() as session:
        session.get_one(Rollout, rollout).gate_count = None
    step(hub)
    fleet.obey()
    step(hub)
    assert shown(client, rollout)["state"] == "succeeded"


def test_a_person_lets_a_wave_past_a_gate_that_was_undecided_for_its_time_and_not_before(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, *_ = serve(client, hub, fleet, gate=GATE | {"max_hold_s": 0})
    found = shown(client, rollout)
    assert (found["waits_for"], "a person decides" in found["gates"][0]["reason"]) == ("approval", True)
    client.post(f"{URL}/{rollout}/approve").raise_for_status()
    step(hub)
    found = shown(client, rollout)
    assert (found["state"], found["gates"][0]["verdict"]) == ("succeeded", "hold")


def test_a_gate_within_its_time_is_not_passed_by_a_person(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, *_ = serve(client, hub, fleet)
    refused = client.post(f"{URL}/{rollout}/approve")
    assert (refused.status_code, "no wave of it waits" in refused.text) == (409, True)


def test_harm_that_is_shown_after_a_person_let_the_wave_pass_still_aborts(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries, held_back = serve(client, hub, fleet, gate=GATE | {"max_hold_s": 0}, soak_s=0)
    client.post(f"{URL}/{rollout}/approve").raise_for_status()
    tell(hub, canaries, held_back, rate=0.12)
    step(hub, 120)
    assert shown(client, rollout)["state"] == "aborted"


def test_nobody_joins_a_last_wave_that_has_ended_and_waits_for_its_gate(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, *_ = serve(client, hub, fleet, devices=None, late_joiners="last_wave")
    with hub.database.transaction() as session:
        add_device(session, name="late")
    step(hub, 3600)
    found = shown(client, rollout)
    assert (found["waits_for"], sum(found["counts"].values())) == ("gate", DEVICES)


def test_the_model_s_policy_wants_others_to_let_a_wave_past_its_gate(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, *_ = serve(client, hub, fleet, gate=GATE | {"max_hold_s": 0})
    client.put("/api/v1/models/digits/approval-policy", json={"rollout": 1}).raise_for_status()
    asked = client.post(f"{URL}/{rollout}/approve")
    assert asked.status_code == 202, asked.text
    assert asked.json()["content"]["plan"]["is_past_gate"] is True
    step(hub)
    assert shown(client, rollout)["state"] == "running", "asking is no approval"
