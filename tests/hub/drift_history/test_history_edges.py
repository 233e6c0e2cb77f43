"""The history of drift where less is kept, or it is asked for wrongly; one engine is enough here."""

from datetime import timedelta

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import delete, select
from tests.hub.drift_history.scene import DAY, HOUR, add_fleet, roll_up, send
from tests.hub.drift_history.test_history_routes import TIME, URL, ask, fleet
from tests.hub.monitoring.test_drift import baseline, like_training
from tests.simulators.rows import NOON

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.drift_history.tables import DriftPeriod

__all__ = ["baseline", "fleet"]


@pytest.fixture
def hub(sqlite_hub: HubContext) -> HubContext:
    """What is asked of the database has tests on both."""
    return sqlite_hub


def test_of_a_device_whose_counts_are_gone_the_scores_of_its_days_stay(
    client: TestClient, hub: HubContext, fleet: tuple[list[str], list[str]]
) -> None:
    north, _ = fleet
    before = ask(client, device=north[1])
    with hub.database.transaction() as session:
        session.exec(delete(DriftPeriod).where(DriftPeriod.scope == "device"))  # type: ignore[arg-type]
    after = ask(client, device=north[1])
    assert [one["samples"] for one in after["periods"]] == [None] * 4
    known = {one["name"]: one for one in before["features"]}
    for feature in after["features"]:
        assert feature["ks"] == pytest.approx(known[feature["name"]]["ks"], abs=0.003)
        assert np.array(feature["psi"]) == pytest.approx(np.array(known[feature["name"]]["psi"]), rel=0.02, abs=0.02)
        assert feature["is_drifted"] == known[feature["name"]]["is_drifted"]


def test_what_cannot_be_answered_is_told_with_what_to_do(
    client: TestClient, hub: HubContext, baseline: Baseline
) -> None:
    [device] = add_fleet(hub, 1)
    send(hub, device, baseline, NOON, like_training(1))
    roll_up(hub, NOON + HOUR)
    for given, status, text in (
        ({"model": "shapes"}, 404, "no model shapes"),
        ({"version": 7}, 404, "no version 7"),
        ({"feature": ["colour"]}, 422, "no feature colour"),
        ({"since": "2026-01-06T00:00:00Z"}, 422, "ends at"),
        ({"by": "hour", "since": "2020-01-01T00:00:00Z"}, 422, "more than 1000 hours"),
        ({"device": device, "query": "name = x"}, 422, "expected one of them"),
        ({"group": "nowhere"}, 404, "no group nowhere"),
        ({"tag": "site=rome"}, 404, "SHOAL_DRIFT_COHORT_TAGS"),
        ({"query": "name = x", "by": "hour"}, 422, "by=day"),
        ({"query": "name ="}, 422, "reading the query"),
        ({"since": "0001-01-01T00:00:00Z"}, 422, "since"),
        ({"since": "2026-01-01T00:00:00"}, 422, "timezone"),
    ):
        answer = client.get(URL, params={"model": "colours"} | TIME | given)
        assert answer.status_code == status, answer.text
        assert text in answer.text, answer.text


@pytest.mark.usefixtures("baseline")
def test_a_time_without_windows_is_empty(client: TestClient) -> None:
    found = ask(client)
    assert (found["periods"], found["features"][0]["ks"]) == ([], [])


def test_a_day_in_another_zone_is_the_same_instant(client: TestClient, hub: HubContext, baseline: Baseline) -> None:
    [device] = add_fleet(hub, 1)
    send(hub, device, baseline, NOON + timedelta(hours=13), like_training(1))
    roll_up(hub, NOON + 2 * DAY)
    with hub.database.session() as session:
        [row] = session.exec(select(DriftPeriod).where(DriftPeriod.span == "day", DriftPeriod.scope == "fleet"))
        assert row.started_at == NOON.replace(day=2, hour=0)
    assert len(ask(client, since="2026-01-02T02:00:00+02:00", until="2026-01-02T12:00:00Z")["periods"]) == 1
