"""The history of drift at the API, on both databases."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import delete, select
from tests.hub.drift_history.scene import DAY, HOUR, add_fleet, periods, roll_up, send, send_days, watched_of
from tests.hub.monitoring.test_drift import baseline, like_training
from tests.simulators.rows import NOON

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.devices.group_tables import DeviceGroup
from shoal_hub.drift_history.tables import DriftPeriod
from shoal_hub.monitoring.describe import describe
from shoal_numerics import detect_drift

__all__ = ["baseline"]
URL = "/api/v1/drift/history"
TIME = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-05T00:00:00Z"}


def ask(client: TestClient, **params: Any) -> dict[str, Any]:
    answer = client.get(URL, params={"model": "colours"} | TIME | params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def fleet(hub: HubContext, baseline: Baseline) -> tuple[list[str], list[str]]:
    """Three devices at north that drift from the third of four days on, and three at south that do not."""
    north = add_fleet(hub, 3, group="north", tags={"site": "paris"})
    south = add_fleet(hub, 3, group="south", tags={"site": "lyon"})
    send_days(hub, north, baseline, 4, drifted_from=2)
    send_days(hub, south, baseline, 4)
    roll_up(hub, NOON + 4 * DAY)
    return north, south


@pytest.mark.usefixtures("fleet")
def test_days_of_the_fleet_have_the_tests_of_all_its_windows_and_the_devices_that_drift(
    client: TestClient, hub: HubContext
) -> None:
    found = ask(client)
    assert (found["version"], found["of"], found["source"], found["by"]) == (1, "fleet", "counts", "day")
    assert [one["started_at"][:10] for one in found["periods"]] == [f"2026-01-0{day}" for day in (1, 2, 3, 4)]
    assert [one["samples"] for one in found["periods"]] == [6 * 300] * 4
    assert [(one["devices"], one["devices_drifted"]) for one in found["periods"]] == [(6, 0), (6, 0), (6, 3), (6, 3)]
    assert found["features_in_all"] == len(found["features"]) == 4
    with hub.database.session() as session:
        watched = watched_of(session)
        for at, total in periods(session, "day", "fleet").items():
            window = total.histogram(watched)
            verdict = detect_drift(watched.reference, window, watched.thresholds)
            expected = describe(window, watched.reference, watched.baseline, verdict, range(4))
            for feature in found["features"]:
                place = [one.name for one in watched.baseline.features].index(feature["name"])
                for name in ("ks", "resolution", "psi", "jensen_shannon", "mean_change", "p_value"):
                    assert feature[name][(at.day - 1)] == pytest.approx(expected[place][name])
    leading = found["features"][0]
    assert leading["devices_drifted"] == [0, 0, 3, 3]
    assert leading["is_drifted"] == [False, False, True, True]
    assert leading["device_ks_p90"][3] > 0.5 > leading["device_ks_median"][0]
    assert all(one >= 0 for one in leading["resolution"])


@pytest.mark.usefixtures("fleet")
def test_hours_are_there_as_well(client: TestClient) -> None:
    found = ask(client, by="hour", feature=["features[2]"])
    assert [one["started_at"][:13] for one in found["periods"]][:3] == [
        "2026-01-01T12",
        "2026-01-01T15",
        "2026-01-02T12",
    ]
    assert [one["devices"] for one in found["periods"]] == [None] * 8
    assert [one["name"] for one in found["features"]] == ["features[2]"]


def test_a_cohort_a_device_and_devices_by_a_query_have_a_history(
    client: TestClient, hub: HubContext, fleet: tuple[list[str], list[str]]
) -> None:
    north, _ = fleet
    with hub.database.transaction() as session:
        session.add(DeviceGroup(name="of-paris", query="tags.site = paris", created_by="ada", created_at=NOON))
    for given, drifted in (({"group": "north"}, 3), ({"group": "south"}, 0), ({"tag": "site=paris"}, 3)):
        found = ask(client, **given)
        assert found["source"] == "counts"
        assert [one["samples"] for one in found["periods"]] == [900] * 4
        assert found["periods"][3]["is_drifted"] == bool(drifted)
    for given in ({"query": "tags.site = paris"}, {"group": "of-paris"}):
        found = ask(client, **given)
        assert found["source"] == "scores"
        assert [(one["devices"], one["devices_drifted"]) for one in found["periods"]] == [
            (3, 0),
            (3, 0),
            (3, 3),
            (3, 3),
        ]
        assert found["features"][0]["devices_drifted"] == [0, 0, 3, 3]
        assert found["features"][0]["ks"] == [None] * 4
    alone = ask(client, device=north[0])
    assert [one["samples"] for one in alone["periods"]] == [300] * 4
    assert alone["periods"][3]["is_drifted"]


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
