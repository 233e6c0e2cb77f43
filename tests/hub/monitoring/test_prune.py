"""Windows are deleted after their time, by the hub's clock, unless something that runs still compares with them."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert
from sqlmodel import col, func, select
from tests.hub.rollouts.test_statistical_gate import GATE
from tests.simulators.rows import NOON as LONG_AGO
from tests.simulators.rows import add_device, add_version, make_report

from shoal_contract.reported import ModelReport, SlotReport
from shoal_contract.telemetry import LATENCY_EDGES_MS
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.monitoring.prune import BATCH, BATCHES, LOOK_EVERY, WindowPruner
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.rollouts.tables import Rollout
from shoal_hub.trials.settle import settle_trials
from shoal_hub.trials.tables import Trial, TrialDevice

RETENTION = timedelta(days=2)
TARGET = "generic-onnx-int8"


@pytest.fixture
def device(hub: HubContext) -> str:
    """A device that serves version 1 of digits, of which there are two."""
    serving = ModelReport(active=SlotReport(version=1, target=TARGET, sha256="0" * 64, state="good"))
    with hub.database.transaction() as session:
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {TARGET: bytes([number]) * 1000})
        return add_device(session, reported=make_report(models={"digits": serving}).model_dump(mode="json")).id


def add_windows(
    hub: HubContext, device: str, count: int, *, age: timedelta, model: str = "digits", **more: Any
) -> None:
    """Have windows been received some time ago, of the hour before."""
    at = utc_now() - age
    row: dict[str, Any] = {"device_id": device, "model": model, "version": 1, "received_at": at, "ended_at": at}
    row |= {
        "started_at": at - timedelta(hours=1),
        "requests": 1,
        "samples": 1,
        "errors": 0,
        "features": b"",
        "missing": b"",
    }
    row |= {"predictions": [], "confidence": [], "latency": [], "is_rolled_up": True} | more
    with hub.database.transaction() as session:
        session.connection().execute(insert(WindowRow), [row | {"requests": number} for number in range(count)])


def models_left(hub: HubContext) -> list[str]:
    with hub.database.session() as session:
        return list(session.exec(select(WindowRow.model).order_by(col(WindowRow.model))))


def test_what_is_older_than_its_time_goes_and_the_rest_stays(hub: HubContext, device: str) -> None:
    add_windows(hub, device, 3, age=timedelta(days=3))
    add_windows(hub, device, 2, age=timedelta(days=1), model="young")
    pruner = WindowPruner(hub.database, RETENTION)
    assert pruner.step(utc_now()) == 3
    assert models_left(hub) == ["young", "young"]


def test_a_device_whose_clock_is_wrong_neither_keeps_windows_for_ever_nor_loses_them_at_once(
    hub: HubContext, device: str
) -> None:
    far = utc_now() + timedelta(days=3650)
    add_windows(hub, device, 1, age=timedelta(days=3), model="ahead", started_at=far)
    add_windows(hub, device, 1, age=timedelta(hours=1), model="behind", started_at=LONG_AGO - timedelta(days=9000))
    WindowPruner(hub.database, RETENTION).step(utc_now())
    assert models_left(hub) == ["behind"]


def test_a_step_takes_a_few_and_the_next_ones_the_rest_the_oldest_first(hub: HubContext, device: str) -> None:
    add_windows(hub, device, BATCH * BATCHES, age=timedelta(days=4))
    add_windows(hub, device, 10, age=timedelta(days=3), model="younger")
    pruner, now = WindowPruner(hub.database, RETENTION), utc_now()
    assert pruner.step(now) == BATCH * BATCHES
    assert set(models_left(hub)) == {"younger"}
    assert pruner.step(now) == 10, "there was more, so it is looked again at once"
    add_windows(hub, device, 1, age=timedelta(days=3))
    assert pruner.step(now) == 0, "there was no more, so it is not looked again for some time"
    assert pruner.step(now + LOOK_EVERY) == 1


def test_what_a_running_rollout_compares_with_stays_until_its_end(
    client: TestClient, hub: HubContext, device: str
) -> None:
    body = {
        "model": "digits",
        "version": "2",
        "devices": [device],
        "waves": [1, 1],
        "gate": GATE | {"before_s": 86_400},
    }
    with hub.database.transaction() as session:
        other = add_device(session, name="other").id
    answer = client.post("/api/v1/rollouts", json=body | {"devices": [device, other]})
    assert answer.status_code == 201, answer.text
    with hub.database.transaction() as session:
        session.get_one(Rollout, answer.json()["id"]).created_at = utc_now() - timedelta(days=10)
    add_windows(hub, device, 1, age=timedelta(days=10, hours=12))
    add_windows(hub, device, 1, age=timedelta(days=12), version=2)
    add_windows(hub, device, 1, age=timedelta(days=10, hours=12), model="another")
    pruner, now = WindowPruner(hub.database, RETENTION), utc_now()
    pruner.step(now)
    with hub.database.session() as session:
        assert [(row.model, row.version) for row in session.exec(select(WindowRow))] == [("digits", 1)]
    client.post(f"/api/v1/rollouts/{answer.json()['id']}/abort").raise_for_status()
    assert pruner.step(now + LOOK_EVERY) == 1


def test_what_a_running_trial_compares_with_stays_until_its_end(
    client: TestClient, hub: HubContext, device: str
) -> None:
    answer = client.post("/api/v1/trials", json={"model": "digits", "version": "2", "mode": "ab"})
    assert answer.status_code == 201, answer.text
    trial = answer.json()["id"]
    with hub.database.transaction() as session:
        session.get_one(Trial, trial).created_at = utc_now() - timedelta(days=10)
    add_windows(hub, device, 1, age=timedelta(days=9))
    pruner, now = WindowPruner(hub.database, RETENTION), utc_now()
    assert pruner.step(now) == 0
    client.post(f"/api/v1/trials/{trial}/stop").raise_for_status()
    assert pruner.step(now + LOOK_EVERY) == 1
    with hub.database.session() as session:
        assert session.exec(select(func.count()).select_from(WindowRow)).one() == 0


@pytest.mark.parametrize("is_stopped", [True, False])
def test_an_ended_trial_shows_what_it_came_to_when_its_windows_are_gone(
    client: TestClient, hub: HubContext, device: str, is_stopped: bool
) -> None:
    def results() -> tuple[Any, Any]:
        found = client.get(f"/api/v1/trials/{trial}").json()
        return found["arms"], found["effects"]

    trial = client.post("/api/v1/trials", json={"model": "digits", "version": "2", "mode": "ab"}).json()["id"]
    with hub.database.transaction() as session:
        row = session.get_one(Trial, trial)
        row.created_at, row.ends_at = utc_now() - timedelta(days=10), utc_now() - timedelta(seconds=1)
        session.exec(select(TrialDevice).where(TrialDevice.device_id == device)).one().arm = "both"
    add_windows(hub, device, 4, age=timedelta(days=9))
    add_windows(hub, device, 3, age=timedelta(days=9), version=2)
    before = results()
    assert [(arm["arm"], arm["samples"]) for arm in before[0]] == [("control", 4), ("candidate", 3)]
    assert {one["metric"] for one in before[1]} == {"error_rate", "p95_latency", "confidence", "accuracy"}
    if is_stopped:
        client.post(f"/api/v1/trials/{trial}/stop").raise_for_status()
    settle_trials(hub.database, utc_now())
    assert client.get(f"/api/v1/trials/{trial}").json()["state"] == "ended"
    assert WindowPruner(hub.database, RETENTION).step(utc_now()) == 7
    assert results() == before


def test_a_trial_whose_windows_can_not_be_compared_is_shown_and_ends_all_the_same(
    client: TestClient, hub: HubContext, device: str
) -> None:
    trial = client.post("/api/v1/trials", json={"model": "digits", "version": "2", "mode": "ab"}).json()["id"]
    add_windows(hub, device, 1, age=-timedelta(hours=2), latency=[-1] * (len(LATENCY_EDGES_MS) + 1))
    ended = client.post(f"/api/v1/trials/{trial}/stop")
    assert (ended.status_code, ended.json()["state"]) == (200, "ended"), ended.text
    assert {one["verdict"] for one in ended.json()["effects"]} == {"not_tested"}
    assert "can not be compared" in ended.json()["effects"][0]["reason"]
