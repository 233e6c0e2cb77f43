"""What is behind drift where less is kept, or it is older, over, or asked for wrongly; one engine is enough here."""

import pytest
from fastapi.testclient import TestClient
from sqlmodel import delete
from tests.hub.drift_history.scene import DAY, HOUR, add_fleet, roll_up, send, send_days
from tests.hub.drift_history.test_cause import URL, ask, at, fleet, signal_of
from tests.hub.monitoring.test_drift import baseline, like_training, shifted
from tests.simulators.rows import NOON

from shoal_contract.manifest import Baseline
from shoal_hub.context import HubContext
from shoal_hub.drift_history import since
from shoal_hub.drift_history.tables import DriftPeriod
from shoal_hub.monitoring.tables import WindowRow

__all__ = ["baseline", "fleet"]


@pytest.fixture
def hub(sqlite_hub: HubContext) -> HubContext:
    """What is asked of the database has tests on both."""
    return sqlite_hub


def test_drift_that_began_in_the_evening_is_found_by_the_hour(
    client: TestClient, hub: HubContext, baseline: Baseline
) -> None:
    [device] = add_fleet(hub, 1)
    send(hub, device, baseline, NOON + 10 * HOUR, like_training(0, rows=2000))
    send(hub, device, baseline, NOON + 11 * HOUR, shifted(1))
    for hour in range(12, 30, 3):
        send(hub, device, baseline, NOON + hour * HOUR, shifted(hour))
    roll_up(hub, NOON + 2 * DAY)
    with hub.database.transaction() as session:
        session.exec(delete(WindowRow))
    found = ask(client, model="colours", at=at(2))
    assert (found["since"], found["since_by"]) == ("2026-01-01T23:00:00Z", "hour")
    assert (found["before"]["samples"], found["after"]["samples"]) == (2000, 7 * 150)


@pytest.mark.usefixtures("fleet")
def test_where_histograms_of_devices_are_gone_those_of_the_fleet_are_shown(client: TestClient, hub: HubContext) -> None:
    with hub.database.transaction() as session:
        session.exec(delete(WindowRow))
        session.exec(delete(DriftPeriod).where((DriftPeriod.scope == "device") | (DriftPeriod.span == "hour")))  # type: ignore[arg-type]
    found = ask(client, model="colours", at=at(4))
    assert (found["compared"], found["since"], found["since_by"]) == ("fleet", "2026-01-03T00:00:00Z", "day")
    assert (found["before"]["samples"], found["after"]["samples"]) == (6 * 600, 6 * 600)
    assert found["features"][0]["is_drifted"]


def test_drift_for_longer_than_is_looked_back_is_said_to_be(
    client: TestClient, hub: HubContext, baseline: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(since, "MAX_DAYS", 2)
    monkeypatch.setattr(since, "CHUNK_DAYS", 2)
    [device] = add_fleet(hub, 1)
    send_days(hub, [device], baseline, 4, drifted_from=0)
    roll_up(hub, NOON + 4 * DAY)
    found = ask(client, model="colours", at=at(4))
    assert (found["is_earlier"], found["since"]) == (True, "2026-01-03T00:00:00Z")


def test_a_signal_that_has_cleared_is_explained_as_it_was_raised(
    client: TestClient, hub: HubContext, baseline: Baseline
) -> None:
    [device] = add_fleet(hub, 1)
    send_days(hub, [device], baseline, 3, drifted_from=2)
    for seed in range(3):
        send(hub, device, baseline, NOON + 3 * DAY + seed * HOUR, like_training(900 + seed))
    roll_up(hub, NOON + 4 * DAY)
    found = ask(client, signal=signal_of(hub))
    assert [one["id"] for one in found["devices"]] == [device]
    assert found["since"].startswith("2026-01-03T12:00")


@pytest.mark.usefixtures("baseline")
def test_nothing_is_known_of_a_version_without_windows(client: TestClient) -> None:
    found = ask(client, model="colours", version=1)
    assert (found["devices"], found["features"], found["before"], found["after"]) == ([], [], None, None)


@pytest.mark.usefixtures("baseline")
def test_what_is_asked_wrongly_is_told_with_what_to_do(client: TestClient) -> None:
    for given, status, text in (
        ({}, 422, "neither"),
        ({"signal": "ds-x", "model": "colours"}, 422, "both"),
        ({"signal": "ds-x"}, 404, "no drift signal ds-x"),
        ({"model": "colours", "version": 9}, 404, "no version 9"),
        ({"model": "colours", "at": "9999-12-31T23:59:59Z"}, 422, "at"),
    ):
        answer = client.get(URL, params=given)
        assert answer.status_code == status, answer.text
        assert text in answer.text, answer.text
