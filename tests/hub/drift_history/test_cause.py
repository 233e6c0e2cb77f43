"""What is behind a drift signal: features, devices, what they share, since when, before and after."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.drift_history.scene import DAY, add_fleet, roll_up, send, send_days
from tests.hub.monitoring.test_drift import baseline, like_training, shifted
from tests.simulators.rows import NOON

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.monitoring.tables import DriftSignal

__all__ = ["baseline"]
URL = "/api/v1/drift/cause"


def ask(client: TestClient, **params: Any) -> dict[str, Any]:
    answer = client.get(URL, params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def signal_of(hub: HubContext) -> str:
    with hub.database.session() as session:
        return session.exec(select(DriftSignal)).one().id


@pytest.fixture
def fleet(hub: HubContext, baseline: Baseline) -> tuple[list[str], list[str]]:
    """Three devices at paris that drift from the third of four days on, and three at lyon that do not."""
    paris = add_fleet(hub, 3, group="north", tags={"site": "paris"})
    lyon = add_fleet(hub, 3, group="north", tags={"site": "lyon"})
    send_days(hub, paris, baseline, 4, drifted_from=2)
    send_days(hub, lyon, baseline, 4)
    roll_up(hub, NOON + 4 * DAY)
    return paris, lyon


def at(day: int, hour: int = 18) -> str:
    return f"2026-01-0{day}T{hour:02}:00:00Z"


def test_a_signal_is_explained_by_features_devices_what_they_share_and_since_when(
    client: TestClient, hub: HubContext, baseline: Baseline, fleet: tuple[list[str], list[str]]
) -> None:
    paris, _ = fleet
    found = ask(client, signal=signal_of(hub), at=at(4))
    assert found["signal"] == signal_of(hub)
    assert (found["devices_tested"], found["devices_drifted"]) == (6, 3)
    assert {one["id"] for one in found["devices"]} == set(paris)
    assert all(one["since"].startswith("2026-01-03T00:00") for one in found["devices"])
    assert (found["since"][:16], found["since_by"]) == ("2026-01-03T12:00", "window")
    assert [(one["devices"], one["devices_drifted"]) for one in found["days"]] == [(6, 0), (6, 0), (6, 3), (6, 3)]
    assert found["cohorts"][0] == {"what": "tags.site", "value": "paris", "devices": 3, "devices_drifted": 3}
    assert all(one["what"] != "group" for one in found["cohorts"]), "all devices are at north"
    assert found["compared"] == "devices"
    assert (found["before"]["samples"], found["after"]["samples"]) == (3 * 600, 3 * 600)
    leading = found["features"][0]
    assert leading["is_drifted"]
    assert leading["ks"] > 0.5 > leading["before_ks"]
    assert leading["resolution"] is not None
    assert leading["mean_change"] > 0.8
    assert leading["variance_ratio"] < 0.5
    assert leading["jensen_shannon"] > leading["jensen_shannon_floor"]
    assert leading["devices_drifted"] == 3
    histogram = leading["histogram"]
    feature = next(one for one in baseline.features if one.name == leading["name"])
    assert histogram["reference"] == list(feature.counts)
    assert histogram["edges"] == pytest.approx(feature.edges)
    assert sum(histogram["before"]) == sum(histogram["after"]) == 1800
    middle = len(histogram["after"]) // 2
    assert sum(histogram["after"][:middle]) < 0.05 * 1800 < sum(histogram["before"][:middle])
    assert found["predictions"]["after"] == [1800, 0, 0]


def test_without_a_signal_the_devices_of_the_day_are_explained_and_of_a_quiet_day_none(
    client: TestClient, fleet: tuple[list[str], list[str]]
) -> None:
    paris, _ = fleet
    found = ask(client, model="colours", version=1, at=at(4), devices=2, features=1, histograms=0)
    assert found["devices_drifted"] == 3
    assert len(found["devices"]) == 2
    assert {one["id"] for one in found["devices"]} < set(paris)
    assert [one["histogram"] for one in found["features"]] == [None]
    quiet = ask(client, model="colours", at=at(2))
    assert (quiet["devices"], quiet["since"], quiet["cohorts"]) == ([], None, [])
    assert quiet["compared"] == "fleet"
    assert not any(one["is_drifted"] for one in quiet["features"])


def test_a_signal_that_was_raised_just_now_is_explained_before_its_windows_are_merged(
    client: TestClient, hub: HubContext, baseline: Baseline
) -> None:
    [device] = add_fleet(hub, 1)
    now = NOON
    for minute in range(20):
        now = NOON + timedelta(minutes=minute)
        send(hub, device, baseline, now, shifted(minute) if minute >= 12 else like_training(minute))
    found = ask(client, signal=signal_of(hub), at=now.isoformat())
    assert [one["id"] for one in found["devices"]] == [device]
    assert (found["since"][:16], found["since_by"]) == ("2026-01-01T12:12", "window")
    assert (found["before"]["samples"], found["after"]["samples"]) == (12 * 150, 8 * 150)
