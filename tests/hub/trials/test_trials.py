"""Trials through the API: who takes part, what devices are told, what they tell, and when a trial ends."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlmodel import Session, select
from tests.simulators.rows import NOON, add_device, add_version, make_report, section

from shoal_contract.reported import ModelReport, SlotReport
from shoal_contract.split import falls_within
from shoal_contract.telemetry import LATENCY_EDGES_MS, HardExample, OutboxPosition, ShadowWindow
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring.tables import WindowRow
from shoal_hub.transfer.leases import lease_users
from shoal_hub.transfer.needs import needs_of
from shoal_hub.trials.settle import settle_trials
from shoal_hub.trials.shadow import MAX_EXAMPLES, take_shadow_window
from shoal_hub.trials.tables import ShadowRow

TARGET = "generic-onnx-int8"
URL = "/api/v1/trials"
BINS = len(LATENCY_EDGES_MS) + 1


@pytest.fixture
def fleet(hub: HubContext) -> list[str]:
    """Eight devices that serve version 1 of digits, of which there are two."""
    report = make_report(models={"digits": serving(1)}).model_dump(mode="json")
    with hub.database.transaction() as session:
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {TARGET: bytes([number]) * 1000})
        return [add_device(session, name=f"device-{number}", reported=report).id for number in range(8)]


def serving(version: int) -> ModelReport:
    return ModelReport(active=SlotReport(version=version, target=TARGET, sha256="0" * 64, state="good"))


def start(client: TestClient, status: int = 201, **changes: Any) -> Any:
    answer = client.post(URL, json={"model": "digits", "version": "2"} | changes)
    assert answer.status_code == status, answer.text
    return answer.json()


def told(hub: HubContext, device_id: str) -> list[dict[str, Any]]:
    with hub.database.session() as session:
        return [dict(one.body) for one in intents_of(session, device_id, "trials/digits")]


def test_every_device_that_serves_the_version_is_told_of_the_candidate(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    trial = start(client, share=0.2, hard_examples=3)
    assert (trial["state"], trial["against"], trial["version"]) == ("running", 1, 2)
    for device_id in fleet:
        (body,) = told(hub, device_id)
        assert (body["mode"], body["share"], body["against"], body["hard_examples"]) == ("shadow", 0.2, 1, 3)
        assert body["candidate"]["version"] == 2
    with hub.database.session() as session:
        assert f"trial/{trial['id']}" in lease_users(session)
        assert body["candidate"]["manifest"]["sha256"] in needs_of(session, fleet[0], NOON)


def test_devices_are_split_by_their_id_and_control_is_told_nothing(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    trial = start(client, mode="ab", split="device", share=0.9)
    arms = {one["device_id"]: one["arm"] for one in trial["devices"]}
    assert set(arms) == set(fleet)
    with hub.database.session() as session:
        salt = told_salt(session, fleet)
    for device_id, arm in arms.items():
        assert (arm == "candidate") == falls_within(0.9, salt, device_id) == bool(told(hub, device_id))


def told_salt(session: Session, fleet: list[str]) -> str:
    bodies = [one.body for device_id in fleet for one in intents_of(session, device_id, "trials/digits")]
    assert {body["share"] for body in bodies} == {1.0}, "on such a device every request is the candidate's"
    return str(bodies[0]["salt"])


def test_devices_that_serve_something_else_or_can_not_run_it_stay_out(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    with hub.database.transaction() as session:
        other = make_report(models={"digits": serving(2)}).model_dump(mode="json")
        session.get_one(Device, fleet[0]).reported = other
        session.get_one(Device, fleet[1]).reported = {
            **make_report(models={"digits": serving(1)}).model_dump(mode="json"),
            "targets": ["jetson-orin-onnx-fp16"],
        }
        session.get_one(Device, fleet[2]).revoked_at = NOON
    trial = start(client)
    assert {one["device_id"] for one in trial["devices"]} == set(fleet[3:])


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"version": "1"}, 409, "the version that serves"),
        ({"version": "9"}, 404, "no version 9"),
        ({"model": "nothing"}, 404, "nothing"),
        ({"against": 7}, 409, "0 of 8 devices serve version 7"),
        ({"devices": ["d-aaaaaaaaaaaaaaaa"]}, 404, "no device d-aaaaaaaaaaaaaaaa"),
        ({"mode": "shadow", "split": "device"}, 422, "no sides"),
        ({"share": 0}, 422, "share"),
        ({"duration_s": 1e12}, 422, "duration_s"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    client: TestClient, fleet: list[str], changes: dict[str, Any], status: int, words: str
) -> None:
    assert fleet
    assert words in start(client, status, **changes)["error"]["message"]


def test_one_trial_of_a_model_runs_at_a_time_and_one_that_stops_leaves_nothing(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    trial = start(client)
    assert trial["id"] in start(client, 409)["error"]["message"]
    ended = client.post(f"{URL}/{trial['id']}/stop").json()
    assert (ended["state"], ended["reason"].split(" by ")[0]) == ("ended", "stopped")
    assert client.post(f"{URL}/{trial['id']}/stop").status_code == 409
    assert [told(hub, device_id) for device_id in fleet] == [[]] * 8
    with hub.database.session() as session:
        assert not [user for user in lease_users(session) if user.startswith("trial/")]
    start(client)


def shadow_window(asked: dict[str, Any], **changes: Any) -> ShadowWindow:
    latency = [0] * BINS
    latency[3] = changes.get("compared", 100)
    fields = {
        "outbox": OutboxPosition(stream="0" * 16, sequence=1, oldest=1),
        "trial": asked["id"],
        "model": "digits",
        "version": 2,
        "against": 1,
        "started_at": NOON,
        "ended_at": NOON + timedelta(seconds=60),
        "compared": 100,
        "disagreed": 5,
        "errors": 1,
        "skipped": 2,
        "latency": tuple(latency),
    }
    return ShadowWindow.model_validate(fields | changes)


def take(hub: HubContext, device_id: str, window: ShadowWindow) -> None:
    with hub.database.transaction() as session:
        take_shadow_window(session, device_id, window, NOON + timedelta(minutes=2))


def test_disagreement_is_added_up_over_devices_and_a_window_counts_once(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    trial = start(client)
    for device_id in fleet[:2]:
        for _ in range(2):
            take(hub, device_id, shadow_window(trial))
    take(hub, fleet[0], shadow_window(trial, started_at=NOON + timedelta(seconds=60), disagreed=20))
    found = client.get(f"{URL}/{trial['id']}").json()["shadow"]
    assert (found["devices"], found["compared"], found["disagreed"]) == (2, 300, 30)
    assert (found["errors"], found["skipped"], found["p95_ms"]) == (3, 6, 2.0)
    assert found["low"] < found["disagreement_rate"] == 0.1 < found["high"]


def test_a_window_that_comes_again_is_known_without_reading_the_others(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    trial = start(client)
    latency = [0] * BINS
    latency[4] = 100
    first, other = shadow_window(trial), shadow_window(trial, latency=tuple(latency))  # by a clock that stands still
    for window in (first, other, first, other):
        take(hub, fleet[0], window)
    loaded: list[object] = []

    def note(row: object, _context: object) -> None:
        loaded.append(row)

    event.listen(ShadowRow, "load", note)
    try:
        take(hub, fleet[0], first)
    finally:
        event.remove(ShadowRow, "load", note)
    assert loaded == []
    with hub.database.session() as session:
        assert len(session.exec(select(ShadowRow)).all()) == 2


def test_labels_are_added_up_for_both_and_are_never_more_than_what_was_compared(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    trial = start(client)
    take(hub, fleet[0], shadow_window(trial, labelled=40, correct=36, against_correct=20))
    later = {"started_at": NOON + timedelta(seconds=60), "compared": 0, "disagreed": 0, "errors": 0, "skipped": 0}
    take(hub, fleet[0], shadow_window(trial, labelled=60, correct=44, against_correct=40, **later))
    take(hub, fleet[1], shadow_window(trial, labelled=0))
    again = later | {"started_at": NOON + timedelta(seconds=120)}
    take(hub, fleet[0], shadow_window(trial, labelled=1, correct=1, **again))
    found = client.get(f"{URL}/{trial['id']}").json()["shadow"]
    assert (found["labelled"], found["accuracy"], found["against_accuracy"]) == (100, 0.8, 0.6)


@pytest.mark.parametrize(
    "lie",
    [
        {"trial": "t-unknown"},
        {"version": 3},
        {"against": 2},
        {"disagreed": 101},
        {"latency": (1, 2)},
        {"labelled": 5, "correct": 6},
        {"labelled": 5, "against_correct": 6},
        {"labelled": 101},
    ],
)
def test_a_window_that_is_no_word_of_this_trial_is_told_and_not_counted(
    client: TestClient, hub: HubContext, fleet: list[str], lie: dict[str, Any]
) -> None:
    trial = start(client)
    take(hub, fleet[0], shadow_window(trial, **lie))
    assert client.get(f"{URL}/{trial['id']}").json()["shadow"]["compared"] == 0
    with hub.database.session() as session:
        kinds = session.exec(select(EventRow.kind).where(EventRow.device_id == fleet[0])).all()
    assert kinds == ["window_quarantined"]


def test_a_device_that_takes_no_part_is_not_counted(client: TestClient, hub: HubContext, fleet: list[str]) -> None:
    trial = start(client, devices=fleet[:4])
    take(hub, fleet[5], shadow_window(trial))
    assert client.get(f"{URL}/{trial['id']}").json()["shadow"]["compared"] == 0


def test_no_more_examples_are_kept_than_were_asked_for(client: TestClient, hub: HubContext, fleet: list[str]) -> None:
    trial = start(client, hard_examples=2)
    example = HardExample(data="AAAAAA==", label=0, candidate_label=1, confidence=0.5, candidate_confidence=0.75)
    for number in range(MAX_EXAMPLES // 2 + 5):
        at = NOON + timedelta(seconds=number)
        take(hub, fleet[0], shadow_window(trial, started_at=at, examples=(example,) * 5))
    found = client.get(f"{URL}/{trial['id']}").json()["examples"]
    assert len(found) == MAX_EXAMPLES
    assert (found[0]["label"], found[0]["candidate_label"], found[0]["device_id"]) == (0, 1, fleet[0])


def add_window(
    hub: HubContext, device_id: str, version: int, requests: int, errors: int, bin_index: int, **labels: int
) -> None:
    latency = [0] * BINS
    latency[bin_index] = requests
    now = utc_now() + timedelta(seconds=1)
    with hub.database.transaction() as session:
        session.add(
            WindowRow(
                device_id=device_id,
                model="digits",
                version=version,
                started_at=now,
                ended_at=now,
                requests=requests,
                samples=requests,
                errors=errors,
                features=b"",
                missing=b"",
                predictions=[],
                confidence=[],
                latency=latency,
                **labels,
            )
        )


def test_each_arm_has_its_own_counts_by_version(client: TestClient, hub: HubContext, fleet: list[str]) -> None:
    trial = start(client, mode="ab", share=0.5, devices=fleet[:2])
    for device_id in fleet[:2]:
        add_window(hub, device_id, 1, 100, 5, 4, labelled=20, correct=18)
        add_window(hub, device_id, 2, 50, 10, 6)
    add_window(hub, fleet[7], 2, 1000, 1000, 6)
    control, candidate = client.get(f"{URL}/{trial['id']}").json()["arms"]
    assert (control["version"], control["requests"], control["error_rate"]) == (1, 200, 0.05)
    assert (candidate["version"], candidate["requests"], candidate["error_rate"]) == (2, 100, 0.2)
    assert (control["devices"], control["p95_ms"], candidate["p95_ms"]) == (2, 4.0, 16.0)
    labels = [(arm["labelled"], arm["accuracy"]) for arm in (control, candidate)]
    assert labels == [(40, 0.9), (0, None)]


@pytest.mark.parametrize(("rate", "verdict", "state"), [(0.2, "abort", "ended"), (0.05, "advance", "running")])
def test_effects_hold_at_any_time_and_harm_ends_a_trial_that_was_told_to(
    client: TestClient, hub: HubContext, rate: float, verdict: str, state: str
) -> None:
    report = make_report(models={"digits": serving(1)}).model_dump(mode="json")
    with hub.database.transaction() as session:
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {TARGET: bytes([number]) * 1000})
        devices = [add_device(session, name=f"device-{number}", reported=report).id for number in range(24)]
    trial = start(client, mode="ab", share=0.5, stop_on_harm=True)
    effects = {one["metric"]: one for one in client.get(f"{URL}/{trial['id']}").json()["effects"]}
    assert (effects["error_rate"]["verdict"], effects["error_rate"]["estimate"]) == ("not_tested", None)
    for device_id in devices:
        add_window(hub, device_id, 1, 3000, 150, 4)
        add_window(hub, device_id, 2, 3000, int(3000 * rate), 4)
    effects = {one["metric"]: one for one in client.get(f"{URL}/{trial['id']}").json()["effects"]}
    found = effects["error_rate"]
    assert (found["verdict"], effects["accuracy"]["verdict"]) == (verdict, "not_tested")
    assert found["low"] <= rate - 0.05 <= found["high"]
    settle_trials(hub.database, utc_now())
    assert client.get(f"{URL}/{trial['id']}").json()["state"] == state


def test_a_trial_ends_with_its_time_or_when_both_sides_have_seen_enough(
    client: TestClient, hub: HubContext, fleet: list[str]
) -> None:
    def state_after(at: timedelta) -> tuple[str, str]:
        settle_trials(hub.database, utc_now() + at)
        found = client.get(f"{URL}/{trial['id']}").json()
        return found["state"], found["reason"]

    trial = start(client, mode="ab", duration_s=3600, stop_after_samples=100)
    add_window(hub, fleet[0], 1, 500, 0, 1)
    add_window(hub, fleet[0], 2, 99, 0, 1)
    assert state_after(timedelta()) == ("running", "")
    add_window(hub, fleet[1], 2, 1, 0, 1)
    assert state_after(timedelta(seconds=30)) == ("running", ""), "looked at once a minute"
    assert state_after(timedelta(minutes=2)) == ("ended", "ended after 100 samples on each side")
    trial = start(client, duration_s=3600)
    assert state_after(timedelta(seconds=3500)) == ("running", "")
    assert state_after(timedelta(seconds=3700)) == ("ended", "ended with its time")
    assert told(hub, fleet[0]) == []


def test_a_device_says_how_far_it_is(client: TestClient, hub: HubContext, fleet: list[str]) -> None:
    trial = start(client, devices=fleet[:1])
    with hub.database.transaction() as session:
        sections = {"trials/digits": section("applied", trial["id"])}
        report = make_report(models={"digits": serving(1)}, sections=sections)
        session.get_one(Device, fleet[0]).reported = report.model_dump(mode="json")
    assert client.get(f"{URL}/{trial['id']}").json()["devices"][0]["state"] == "applied"


def test_trials_are_listed_newest_first(client: TestClient, fleet: list[str]) -> None:
    first = start(client, devices=fleet)
    client.post(f"{URL}/{first['id']}/stop")
    second = start(client)
    assert [one["id"] for one in client.get(URL).json()] == [second["id"], first["id"]]
    assert client.get(URL, params={"model": "other"}).json() == []
