"""When an attempt's time is over: the search among many finds those that the decision on one finds, and no others."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.rollouts.test_advance import ROLLOUT
from tests.hub.rollouts.test_rollout_routes import URL, Fleet
from tests.simulators.rows import NOON, section

from shoal_contract.update_policy import UpdatePolicy
from shoal_hub.context import HubContext
from shoal_hub.devices.intents import intents_of
from shoal_hub.rollouts.patience import begun_before, ends_at
from shoal_hub.rollouts.reconcile import view_rollout
from shoal_hub.rollouts.request import RolloutPlan
from shoal_hub.rollouts.start import find_rollout
from shoal_hub.rollouts.work import count_deployments, find_work

SECONDS = st.integers(1, 100_000)
TIMES = st.integers(-100_000, 100_000).map(lambda seconds: NOON + timedelta(seconds=seconds))


@given(SECONDS, SECONDS, st.none() | TIMES, TIMES, TIMES, st.booleans())
def test_the_search_by_beginnings_is_the_decision_by_ends(
    timeout_s: int, hold_s: int, activate_at: datetime | None, since: datetime, now: datetime, is_held: bool
) -> None:
    plan = RolloutPlan(timeout_s=timeout_s, hold_timeout_s=hold_s, policy=UpdatePolicy(activate_at=activate_at))
    rollout = replace(ROLLOUT, timeout_s=float(timeout_s), plan=plan)
    before = begun_before(rollout, now, is_held=is_held)
    assert (now > ends_at(rollout, since, is_held=is_held)) == (before is not None and since < before)


def test_devices_that_wait_for_their_time_past_the_hold_time_keep_nobody_from_being_looked_at(
    client: TestClient, hub: HubContext
) -> None:
    fleet = Fleet(hub, 5)
    policy = {"activate_at": (NOON + timedelta(days=30)).isoformat()}
    body = {"model": "digits", "version": "1", "devices": fleet.ids, "policy": policy, "hold_timeout_s": 60}
    rollout_id = client.post(URL, json=body | {"max_failures": 5}).json()["id"]
    fleet.settle()
    *waiting, silent = fleet.ids
    for device_id in waiting:
        with hub.database.session() as session:
            deployment = intents_of(session, device_id)[0].body["deployment"]
        told = section("working", deployment, step="activate_at")
        fleet.report(device_id, sections={"models/digits": told})
    fleet.settle()
    later = NOON + timedelta(days=1)
    with hub.database.session() as session:
        view = view_rollout(session, find_rollout(session, rollout_id), later)
        found = find_work(session, view, count_deployments(session, rollout_id), later, batch=1)
    assert [one.device_id for one in found.attempts] == [silent]
    fleet.settle(seconds=86_400)
    shown = client.get(f"{URL}/{rollout_id}").json()
    states = {one["device_id"]: one["state"] for one in shown["deployments"]}
    assert states == dict.fromkeys(waiting, "working") | {silent: "timed_out"}


@pytest.mark.parametrize(("is_held", "seconds"), [(False, 600), (True, 7 * 86_400)])
def test_without_a_time_to_activate_a_wait_has_its_own_time(is_held: bool, seconds: int) -> None:
    assert ends_at(ROLLOUT, NOON, is_held=is_held) == NOON + timedelta(seconds=seconds)
