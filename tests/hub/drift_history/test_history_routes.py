"""The history of drift at the API, on both databases."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.drift_history.scene import DAY, add_fleet, periods, roll_up, send_days, watched_of
from tests.hub.monitoring.test_drift import baseline
from tests.simulators.rows import NOON

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.devices.group_tables import DeviceGroup
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
