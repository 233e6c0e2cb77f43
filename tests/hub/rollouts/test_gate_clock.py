"""How long a gate is held, and who hears of it: pauses, late joiners, and evidence that can not be compared."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sqlmodel import select
from tests.hub.rollouts.test_last_gate import HELD_BACK, fleet, serve, shown, tell
from tests.hub.rollouts.test_rollout_routes import URL, Fleet
from tests.hub.rollouts.test_statistical_gate import DEVICES, GATE, step, tell_windows
from tests.simulators.rows import add_device

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.errors import InvalidInputError
from shoal_hub.events.tables import EventRow
from shoal_hub.gates.plan import GatePlan
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.rollouts import commands
from shoal_hub.rollouts.start import start_rollout, starter_of
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.settings import Settings

__all__ = ["fleet"]
TIMED = GATE | {"max_hold_s": 3600, "undecided": "abort"}


def pause(hub: HubContext, rollout: str, *, from_s: float, to_s: float) -> None:
    """Pause a rollout and resume it, seconds from now; it is stepped in the middle of that."""
    with hub.database.transaction() as session:
        row = session.get_one(Rollout, rollout)
        commands.pause(session, row, by="ada", now=utc_now() + timedelta(seconds=from_s))
    step(hub, (from_s + to_s) / 2)
    with hub.database.transaction() as session:
        row = session.get_one(Rollout, rollout)
        commands.resume(session, row, by="ada", now=utc_now() + timedelta(seconds=to_s))


def add_late(hub: HubContext, fleet: Fleet, count: int) -> list[str]:
    with hub.database.transaction() as session:
        late = [add_device(session, name=f"late-{number}").id for number in range(count)]
    for device_id in late:
        fleet.report(device_id)
    return late


def placed(hub: HubContext, rollout: str) -> dict[str, list[str]]:
    """Return the devices of a rollout by state."""
    with hub.database.session() as session:
        rows = session.exec(select(Deployment).where(Deployment.rollout_id == rollout)).all()
    return {state: [row.device_id for row in rows if row.state == state] for state in {row.state for row in rows}}


def asked(hub: HubContext) -> list[tuple[str, str]]:
    with hub.database.session() as session:
        found = session.exec(select(EventRow).where(EventRow.kind == "gate_undecided")).all()
    return [(one.severity, one.message) for one in found]


def test_the_time_of_a_gate_stands_still_while_its_rollout_is_paused(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, *_ = serve(client, hub, fleet, gate=TIMED)
    pause(hub, rollout, from_s=3000, to_s=200_000)
    step(hub, 200_100)
    assert shown(client, rollout)["state"] == "running"
    step(hub, 200_700)
    assert shown(client, rollout)["state"] == "aborted", "what was left at the pause is over"


def test_a_wave_that_ends_during_a_pause_has_the_whole_of_its_gate_s_time(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, *_ = serve(client, hub, fleet, gate=TIMED)
    with hub.database.transaction() as session:
        session.get_one(Rollout, rollout).wave_ended_at = None
    pause(hub, rollout, from_s=0, to_s=200_000)
    step(hub, 203_000)
    assert shown(client, rollout)["state"] == "running"
    step(hub, 203_700)
    assert shown(client, rollout)["state"] == "aborted"


def test_the_time_stands_still_as_well_where_failures_have_paused_it(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    pausing = [{"count": 1, "action": "pause"}]
    rollout, canaries, _ = serve(client, hub, fleet, gate=TIMED, thresholds=pausing)
    fleet.obey(canaries[0], state="failed")
    step(hub, 3000)
    assert shown(client, rollout)["state"] == "paused"
    with hub.database.transaction() as session:
        later = utc_now() + timedelta(seconds=200_000)
        commands.resume(session, session.get_one(Rollout, rollout), by="ada", now=later)
    step(hub, 200_100)
    assert shown(client, rollout)["state"] == "running"
    step(hub, 200_700)
    assert shown(client, rollout)["state"] == "aborted"


def test_late_joiners_are_compared_on_neither_side(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    body: dict[str, Any] = {"model": "digits", "version": "2", "waves": [1.0], "gate": GATE, "holdback_percent": 50}
    rollout = client.post(URL, json=body | {"late_joiners": "last_wave"}).json()["id"]
    step(hub)
    drawn = placed(hub, rollout)
    late = add_late(hub, fleet, 12)
    step(hub, 100)
    assert sum(shown(client, rollout)["counts"].values()) == DEVICES + 12, "they have joined"
    fleet.obey(*drawn["assigned"], *late)
    step(hub, 101)
    tell(hub, drawn["assigned"], drawn["held_back"], rate=0.05)
    tell(hub, late, [], rate=0.12)  # of a new site, bad with any version
    step(hub, 240)
    found = shown(client, rollout)
    assert (found["state"], found["counts"]) == ("succeeded", {"succeeded": DEVICES, "held_back": HELD_BACK})
    (metric,) = found["gates"][0]["metrics"]
    assert (metric["canary"]["devices"], metric["control"]["devices"]) == (DEVICES - HELD_BACK, HELD_BACK)


def test_late_joiners_that_wait_for_the_last_wave_are_no_controls(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    body: dict[str, Any] = {"model": "digits", "version": "2", "waves": [12, 1.0], "gate": GATE}
    rollout = client.post(URL, json=body | {"late_joiners": "last_wave"}).json()["id"]
    step(hub)
    drawn = placed(hub, rollout)
    late = add_late(hub, fleet, 12)
    fleet.obey(*drawn["assigned"])
    step(hub, 100)
    tell_windows(hub, drawn["assigned"], 2, 0.05, at_s=110)
    tell_windows(hub, [*drawn["pending"], *late], 1, 0.05, at_s=110)
    step(hub, 240)
    found = shown(client, rollout)
    assert (found["waves"], found["gates"][0]["metrics"][0]["control"]["devices"]) == ([12, 24], 12)


def test_a_gate_that_compares_with_windows_that_are_gone_is_refused(hub: HubContext, fleet: Fleet) -> None:
    starter = replace(starter_of(hub), window_retention_s=2 * 86_400.0)
    plan: dict[str, Any] = {"model": "digits", "version": "2", "devices": fleet.ids, "by": "ada"}
    with hub.database.transaction() as session:
        with pytest.raises(InvalidInputError, match=r"259200 s before it, and windows are kept for 172800 s"):
            start_rollout(session, starter, **plan, gate=GATE | {"before_s": 3 * 86_400})
        start_rollout(session, starter, **plan, gate=GATE | {"before_s": 2 * 86_400})


def test_windows_are_kept_for_a_day_at_least_which_gates_compare_with_by_default() -> None:
    with pytest.raises(ValidationError, match="window_retention_s"):
        Settings(window_retention_s=86_399)
    assert Settings(window_retention_s=86_400).window_retention_s >= GatePlan().before_s


@pytest.mark.parametrize("max_hold_s", [0, 3600])
def test_operators_are_told_once_that_a_gate_waits_for_a_person(
    client: TestClient, hub: HubContext, fleet: Fleet, max_hold_s: float
) -> None:
    rollout, *_ = serve(client, hub, fleet, gate=GATE | {"max_hold_s": max_hold_s, "undecided": "hold"})
    for seconds in (120, 240, 3000):
        step(hub, seconds)
    assert len(asked(hub)) == (1 if max_hold_s == 0 else 0)
    step(hub, 3700)
    pause(hub, rollout, from_s=3800, to_s=9000)
    step(hub, 9100)
    ((severity, message),) = asked(hub)
    assert (severity, f"shoal rollouts approve {rollout}" in message) == ("warning", True)


def test_a_gate_whose_evidence_can_not_be_compared_is_let_pass_by_a_person(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    latency = GATE | {"metrics": [{"name": "p95_latency"}], "max_hold_s": 0}
    rollout, canaries, _ = serve(client, hub, fleet, gate=latency)
    tell_windows(hub, canaries, 2, 0.05, at_s=10)
    with hub.database.transaction() as session:
        for row in session.exec(select(WindowRow)).all():
            row.latency = [-1] * len(row.latency)
    step(hub, 120)
    found = shown(client, rollout)
    (gate,) = found["gates"]
    assert (gate["verdict"], gate["tested"], gate["metrics"]) == ("hold", "not_tested", [])
    assert ("can not be compared" in gate["reason"], found["waits_for"]) == (True, "approval")
    assert gate["alpha_spent"] == pytest.approx(0.05)
    client.post(f"{URL}/{rollout}/approve").raise_for_status()
    step(hub, 121)
    assert shown(client, rollout)["state"] == "succeeded"
