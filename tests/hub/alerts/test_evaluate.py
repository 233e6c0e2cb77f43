"""Rules over real rows, on both databases: what fires, when, what ends it, and who is to be told."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, select
from tests.hub.alerts.conftest import SLOW, URL, Alerts
from tests.simulators.rows import add_version

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel
from shoal_hub.alerts.minutes import MinuteTallies
from shoal_hub.alerts.tables import AlertRow
from shoal_hub.alerts.tallies import WindowTallies
from shoal_hub.alerts.telling import Timing
from shoal_hub.devices.intents import set_intent
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.ids import new_id
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.rollouts.owner import owner_of
from shoal_hub.rollouts.tables import Rollout

ERRORS = {"kind": "metric", "metric": "error_rate", "model": "digits", "window_s": 60}


def add_rollout(alerts: Alerts, **changes: Any) -> str:
    row: dict[str, Any] = {"id": new_id("r"), "model": "digits", "version": 1, "manifest_sha256": "0" * 64}
    row |= {"manifest_size_bytes": 1, "waves": [1], "timeout_s": 60, "created_by": "ada", "created_at": alerts.now}
    with alerts.hub.database.transaction() as session:
        session.add(Rollout(**row | changes))
    return str(row["id"])


def test_a_metric_beyond_its_threshold_fires_after_its_time_and_is_resolved_after_its_time(alerts: Alerts) -> None:
    alerts.rule("errors", ERRORS, for_s=30, resolve_s=20)
    alerts.windows(errors=50)
    alerts.look()
    assert alerts.states("errors") == {"digits,1": "pending"}
    for _ in range(3):
        alerts.windows(errors=50)
        alerts.look()
    assert alerts.states("errors") == {"digits,1": "firing"}
    [shown] = alerts.listed(rule="errors")
    assert "0.5" in shown["message"]
    assert (shown["value"], shown["threshold"], shown["severity"]) == (0.5, 0.05, "warning")
    alerts.pass_time(120)  # a minute with bad windows is over
    for _ in range(4):
        alerts.windows()
        alerts.look()
    assert alerts.states("errors") == {}
    [over] = alerts.listed(rule="errors", state="resolved")
    assert over["resolved_at"] > over["fired_at"]
    with alerts.hub.database.session() as session:
        kinds = session.exec(select(EventRow.kind).where(EventRow.subject == f"alert/{over['id']}")).all()
    assert list(kinds) == ["alert_firing", "alert_resolved"]


@pytest.mark.parametrize(
    ("metric", "bad"),
    [("accuracy", {"correct": 80}), ("error_rate", {"errors": 6}), ("p95_latency", {"latency": SLOW})],
)
def test_each_metric_has_a_threshold_of_its_own_that_a_model_may_change(
    alerts: Alerts, metric: str, bad: dict[str, Any]
) -> None:
    alerts.rule("m", {"kind": "metric", "metric": metric, "model": "digits"})
    alerts.windows()
    alerts.look()
    assert alerts.states("m") == {}, "what is as it should be raises nothing"
    alerts.windows(**bad)
    alerts.windows(at=alerts.now - timedelta(hours=2), errors=100, correct=0, latency=SLOW)
    lenient = {"accuracy": 0.5, "error_rate": 0.5, "p95_latency": 900.0}
    alerts.client.put(f"{URL}/thresholds/digits", json={"thresholds": lenient}).raise_for_status()
    alerts.look()
    assert alerts.states("m") == {}
    known = alerts.client.put(f"{URL}/thresholds/digits", json={"thresholds": {}}).json()["thresholds"]
    floors = {"accuracy": 0.85, "estimated_accuracy": 0.85, "precision": 0.8, "recall": 0.8}
    assert known == floors | {"error_rate": 0.05, "p95_latency": 100.0}, "others have none of their own"
    alerts.client.put(f"{URL}/thresholds/digits", json={"thresholds": {"accuracy": 0.9, "error_rate": 0.02}})
    alerts.look()
    assert alerts.states("m") == {"digits,1": "firing"}
    [shown] = alerts.listed(rule="m")
    mean = {"accuracy": 0.875, "error_rate": 0.03}.get(metric)
    assert shown["value"] == mean if mean else 400 < shown["value"] < 520


def test_too_few_samples_fire_nothing_and_end_nothing(alerts: Alerts) -> None:
    alerts.rule("errors", ERRORS | {"min_samples": 150})
    alerts.windows(errors=100)
    alerts.look()
    assert alerts.states("errors") == {}
    alerts.windows(errors=100)
    alerts.look()
    assert alerts.states("errors") == {"digits,1": "firing"}
    alerts.pass_time(180)
    alerts.windows(errors=0)
    alerts.look(times=3)
    assert alerts.states("errors") == {"digits,1": "firing"}, "100 requests of 150 tell nothing"


def test_groups_of_devices_are_told_apart(alerts: Alerts) -> None:
    alerts.rule("errors", ERRORS | {"group_by": ["group"]})
    alerts.windows(0, errors=0)
    alerts.windows(1, errors=90)
    alerts.look()
    assert alerts.states("errors") == {"north,digits": "firing"}


def test_windows_of_past_minutes_are_remembered_and_late_ones_of_this_one_counted(alerts: Alerts) -> None:
    alerts.rule("errors", ERRORS | {"window_s": 1800})
    alerts.windows(requests=1000, latency=SLOW, errors=40)
    alerts.look(600)
    assert alerts.states("errors") == {}
    alerts.windows(requests=1000, errors=100)
    alerts.look()
    [shown] = alerts.listed(rule="errors")
    assert shown["value"] == pytest.approx(0.07)


def test_a_hub_that_starts_reads_its_past_over_some_looks_and_each_minute_once(
    sqlite_alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = sqlite_alerts
    alerts.rule("errors", ERRORS | {"window_s": 1800, "min_samples": 300})
    for minutes in (1, 15, 25):
        alerts.windows(at=alerts.now - timedelta(minutes=minutes), errors=50)
    read: list[int] = []
    really = MinuteTallies._read

    def reading(self: MinuteTallies[Any], session: Session, number: int) -> Any:
        if isinstance(self, WindowTallies):
            read.append(number)
        return really(self, session, number)

    monkeypatch.setattr(MinuteTallies, "_read", reading)
    alerts.look()
    assert (alerts.states("errors"), len(read)) == ({}, 12), "two open minutes, and ten past ones, for four rules"
    alerts.look(times=2)
    assert alerts.states("errors") == {"digits,1": "firing"}
    alerts.look(times=8)
    past = [number for number in read if number < int(alerts.now.timestamp()) // 60 - 3]
    assert max(past.count(number) for number in past) <= 2 + 60 / 10, "a minute is read while it may still grow"
    assert past.count(min(past)) == 1


def test_drift_is_told_by_version_and_its_features(alerts: Alerts) -> None:
    with alerts.hub.database.transaction() as session:
        row: dict[str, Any] = {"id": "ds-1", "model": "digits", "version": 1, "devices": alerts.ids, "samples": 10}
        row["rule"] = "controlled"
        features = [{"name": "x", "ks": 0.5}, {"name": "y", "ks": 0.4}]
        session.add(DriftSignal(**row, raised_at=alerts.now, updated_at=alerts.now, features=features))
    alerts.rule("by-feature", {"kind": "drift", "group_by": ["feature"]})
    alerts.rule("by-group", {"kind": "drift", "group_by": ["model", "group"], "min_devices": 2})
    alerts.look()
    assert alerts.states("drift") == {"digits,1": "firing"}
    assert alerts.states("by-feature") == {"x": "firing", "y": "firing"}
    assert alerts.states("by-group") == {"north,digits": "firing"}, "one device of south is not two"
    with alerts.hub.database.transaction() as session:
        session.get_one(DriftSignal, "ds-1").state = "cleared"
    alerts.look()
    assert (alerts.states("by-feature"), alerts.states("drift")) == ({}, {"digits,1": "firing"})
    alerts.look(30, times=21)
    assert alerts.states("drift") == {}, "the hub's own rule waits ten minutes"


def test_drift_goes_by_one_rule_and_counts_a_device_once(alerts: Alerts) -> None:
    first, second, third = alerts.ids

    def drifted(rule: str, devices: list[str], features: list[dict[str, Any]]) -> None:
        row: dict[str, Any] = {"id": f"ds-{rule}", "model": "digits", "version": 1, "rule": rule, "samples": 10}
        with alerts.hub.database.transaction() as session:
            times = {"raised_at": alerts.now, "updated_at": alerts.now}
            session.add(DriftSignal(**row, **times, devices=devices, features=features))

    def values(rule: str) -> dict[str, float]:
        return {one["labels"].get("feature", ""): one["value"] for one in alerts.listed(rule=rule)}

    alerts.rule("plain", {"kind": "drift", "rule": "plain"})
    alerts.rule("either", {"kind": "drift", "rule": None})
    alerts.rule("by-feature", {"kind": "drift", "group_by": ["feature"]})
    alerts.rule("by-all", {"kind": "drift", "rule": None, "group_by": ["feature"]})
    drifted("plain", [first, second], [{"name": "x", "ks": 0.5}])
    alerts.look()
    assert (values("drift"), values("plain"), values("either")) == ({}, {"": 2.0}, {"": 2.0})
    features = [{"name": "x", "log10_e": 9.0, "devices": 2}, {"name": "y", "log10_e": 9.0, "devices": 1}]
    drifted("controlled", [second, third], features)
    alerts.look()
    assert (values("drift"), values("plain"), values("either")) == ({"": 2.0}, {"": 2.0}, {"": 3.0})
    assert values("by-feature") == {"x": 2.0, "y": 1.0}
    assert values("by-all") == {"x": 3.0, "y": 1.0}


def test_devices_that_are_away_are_counted_by_share_or_number(alerts: Alerts) -> None:
    def away(*numbers: int) -> None:
        with alerts.hub.database.transaction() as session:
            for number, device_id in enumerate(alerts.ids):
                device = session.get_one(Device, device_id)
                device.presence = "offline" if number in numbers else "online"
                device.presence_since = alerts.now - timedelta(hours=1)

    alerts.rule("share", {"kind": "devices_offline", "min_share": 0.6, "min_devices": 3})
    alerts.rule("count", {"kind": "devices_offline", "min_share": None, "min_count": 1, "group_by": ["group"]})
    alerts.rule("fresh", {"kind": "devices_offline", "min_share": 0.1, "min_devices": 1, "offline_s": 7200})
    away(1)
    alerts.look()
    assert (alerts.states("share"), alerts.states("count")) == ({}, {"north": "firing"})
    away(0, 1)
    alerts.look()
    assert (alerts.states("share"), alerts.states("count")) == ({"": "firing"}, {"north": "firing", "south": "firing"})
    assert alerts.states("fresh") == {}
    assert alerts.listed(rule="share")[0]["message"] == "2 of 3 devices are offline"


def test_a_rollout_that_is_stuck_fires_until_it_goes_on_or_another_comes(alerts: Alerts) -> None:
    first = add_rollout(alerts, state="paused", reason="the gate has not passed")
    alerts.look()
    assert alerts.states("rollout-stuck") == {"digits": "firing"}
    assert "gate has not passed" in alerts.open_alert().message
    with alerts.hub.database.transaction() as session:
        row = session.get_one(Rollout, first)
        row.state, row.ended_at = "aborted", alerts.now
    alerts.look()
    assert alerts.states("rollout-stuck") == {"digits": "firing"}
    alerts.pass_time(10)
    add_rollout(alerts, state="running")
    alerts.look()
    assert alerts.states("rollout-stuck") == {}


def test_a_model_that_says_nothing_any_more_is_missed(alerts: Alerts) -> None:
    alerts.rule("no-data", {"kind": "no_data", "after_s": 600})
    want(alerts, add_rollout(alerts, state="succeeded"))
    alerts.look()
    assert alerts.states("no-data") == {}, "it has only just been rolled out"
    alerts.look(700)
    assert alerts.states("no-data") == {"digits": "firing"}
    alerts.windows()
    alerts.look()
    assert alerts.states("no-data") == {}


def test_a_model_that_no_device_is_to_serve_is_not_missed(alerts: Alerts) -> None:
    alerts.rule("no-data", {"kind": "no_data", "after_s": 600})
    add_rollout(alerts, state="succeeded")
    alerts.look(700)
    assert alerts.states("no-data") == {}, "it was retired"
    want(alerts, add_rollout(alerts, state="succeeded"))
    alerts.look(700)
    assert alerts.states("no-data") == {"digits": "firing"}
    with alerts.hub.database.transaction() as session:
        session.get_one(Device, alerts.ids[0]).revoked_at = alerts.now
    alerts.look()
    assert alerts.states("no-data") == {}, "the only device that was to serve it is gone"


def want(alerts: Alerts, rollout_id: str) -> None:
    """Have a device want what a rollout is of, as the rollout leaves it."""
    wanted = DesiredModel(
        version=1, target="generic-onnx-int8", manifest=ArtifactRef(sha256="0" * 64, size_bytes=1), deployment="dp-1"
    )
    with alerts.hub.database.transaction() as session:
        owner = owner_of(rollout_id)
        set_intent(session, alerts.ids[0], "models/digits", kind="rollout", owner=owner, body=wanted, now=alerts.now)


def test_a_rule_that_is_switched_off_or_removed_ends_its_alerts(alerts: Alerts) -> None:
    alerts.channel()
    alerts.rule("errors", ERRORS)
    alerts.windows(errors=50)
    alerts.look()
    alerts.rule("errors", ERRORS, is_enabled=False)
    alerts.look()
    [over] = alerts.listed(rule="errors", state="resolved")
    assert "switched off" in over["resolution"]
    assert alerts.told() == [("ops", "firing", 0), ("ops", "resolved", 0)]
    alerts.client.delete(f"{URL}/rules/errors").raise_for_status()
    assert alerts.client.delete(f"{URL}/rules/errors").status_code == 404


def test_one_rule_that_can_not_be_read_holds_up_no_other(
    sqlite_alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = sqlite_alerts
    alerts.rule("errors", ERRORS)
    add_rollout(alerts, state="paused")
    alerts.windows(errors=50)
    alerts.look()

    def broken(*_: object) -> Any:
        raise ValueError("broken")

    monkeypatch.setattr("shoal_hub.alerts.readings.stuck_rollouts", broken)
    alerts.windows()
    alerts.windows(requests=1000)
    alerts.look(120)
    assert (alerts.states("rollout-stuck"), alerts.states("errors")) == ({"digits": "firing"}, {})


def test_a_hub_that_was_off_counts_nothing_of_that_time(alerts: Alerts) -> None:
    alerts.rule("stuck", {"kind": "rollout"}, for_s=60)
    add_rollout(alerts, state="paused")
    alerts.look()
    alerts.pass_time(7200)
    alerts.evaluator = alerts.new_evaluator()
    alerts.look()
    assert alerts.states("stuck") == {"digits": "pending"}, "it was seen for no time yet"
    alerts.look(30, times=2)
    assert alerts.states("stuck") == {"digits": "firing"}


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_jumps_fires_nothing_ends_nothing_and_repeats_at_most_once(alerts: Alerts, days: int) -> None:
    alerts.channel()
    alerts.rule("stuck", {"kind": "rollout"}, resolve_s=600)
    alerts.rule("patient", {"kind": "rollout"}, for_s=600)
    add_rollout(alerts, state="paused")
    alerts.look()
    alerts.now += timedelta(days=days)
    alerts.look(times=5)
    assert (alerts.states("stuck"), alerts.states("patient")) == ({"digits": "firing"}, {"digits": "pending"})
    told = [word for word in alerts.told() if word[1] == "repeated"]
    assert len(told) == 2, "once of each of the two that fire: stuck, and the hub's own"


def test_what_one_rule_finds_at_once_goes_in_one_message_and_the_next_keeps_its_distance(alerts: Alerts) -> None:
    alerts.channel()
    alerts.use(Timing(group_wait_s=30, group_interval_s=300, repeat_interval_s=3600))
    alerts.rule("errors", {"kind": "metric", "metric": "error_rate", "window_s": 3600})
    with alerts.hub.database.transaction() as session:
        add_version(session, alerts.hub.artifacts, 1, {}, "parts")
        add_version(session, alerts.hub.artifacts, 1, {}, "pumps")
    alerts.windows(errors=50)
    alerts.look()
    alerts.windows(errors=50, model="parts")
    alerts.look()
    assert alerts.deliveries() == []
    alerts.look(20)
    [first] = alerts.deliveries()
    assert [one["labels"]["model"] for one in first.payload["alerts"]] == ["digits", "parts"]
    assert first.payload["title"].endswith("(2)")
    alerts.windows(errors=50, model="pumps")
    alerts.look(60, times=3)
    assert len(alerts.deliveries()) == 1
    alerts.look(60, times=3)
    assert [len(one.payload["alerts"]) for one in alerts.deliveries()] == [2, 1]


def test_who_is_told_is_told_once_and_again_until_somebody_cares(alerts: Alerts) -> None:
    alerts.channel()
    alerts.channel("pager", least_severity="critical")
    alerts.channel("off", is_enabled=False)
    alerts.rule("stuck", {"kind": "rollout"}, channels=["ops"])
    for name in ("rollout-stuck", "no-data"):
        alerts.rule(name, {"kind": "rollout"}, is_enabled=False)
    rollout = add_rollout(alerts, state="paused")
    alerts.look(times=5)
    assert alerts.told() == [("ops", "firing", 0)]
    alerts.look(3600)
    alerts.look(times=3)
    assert alerts.told() == [("ops", "firing", 0), ("ops", "repeated", 1)]
    alert = alerts.open_alert().id
    shown = alerts.client.post(f"{URL}/{alert}/acknowledgement", json={"note": "I look"}).json()
    assert (shown["acknowledgement"]["by"], shown["acknowledgement"]["note"]) == ("ada", "I look")
    alerts.look(3600, times=3)
    assert len(alerts.told()) == 2
    with alerts.hub.database.transaction() as session:
        session.get_one(Rollout, rollout).state = "running"
    alerts.look()
    assert alerts.told()[2:] == [("ops", "resolved", 0)]
    shown = alerts.client.get(f"{URL}/{alert}").json()
    assert [one["transition"] for one in shown["notices"]] == ["firing", "repeated", "resolved"]
    assert alerts.client.post(f"{URL}/{alert}/acknowledgement", json={}).status_code == 409


def test_a_silence_keeps_an_alert_back_until_it_ends_and_its_end_is_told_all_the_same(alerts: Alerts) -> None:
    alerts.channel()
    alerts.rule("rollout-stuck", {"kind": "rollout"}, labels={"team": "edge"})
    body = {
        "matchers": [{"label": "team", "value": "edge"}],
        "ends_at": (alerts.now + timedelta(hours=1)).isoformat(),
        "reason": "maintenance",
    }
    made = alerts.client.post(f"{URL}/silences", json=body)
    assert made.status_code == 201, made.text
    rollout = add_rollout(alerts, state="paused")
    alerts.look(times=3)
    assert alerts.told() == []
    assert alerts.listed()[0]["silenced_by"] == [made.json()["id"]]
    alerts.client.delete(f"{URL}/silences/{made.json()['id']}").raise_for_status()
    alerts.look()
    assert alerts.told() == [("ops", "firing", 0)]
    alerts.client.post(f"{URL}/silences", json=body).raise_for_status()
    with alerts.hub.database.transaction() as session:
        session.get_one(Rollout, rollout).state = "running"
    alerts.look()
    assert alerts.told()[1:] == [("ops", "resolved", 0)]


def test_nothing_is_written_where_nothing_is_to_be_said(sqlite_alerts: Alerts, monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = sqlite_alerts
    alerts.windows()

    def written(*_: object) -> Any:
        raise AssertionError("a transaction was begun")

    monkeypatch.setattr(alerts.hub.database, "transaction", written)
    assert alerts.look(times=5) == 0


def test_a_look_that_takes_long_is_followed_by_a_longer_rest(
    sqlite_alerts: Alerts, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = sqlite_alerts
    add_rollout(alerts, state="paused")
    looked = alerts.evaluator._look

    def slow(*arguments: Any) -> int:
        alerts.cpu_s += 2
        return looked(*arguments)

    monkeypatch.setattr(alerts.evaluator, "_look", slow)
    assert alerts.look() == 1
    assert alerts.look(39) == 0
    alerts.evaluator.step(alerts.now)
    assert alerts.cpu_s == 2
    alerts.look(1)
    assert alerts.cpu_s == 4


def test_a_condition_of_another_kind_or_shape_is_refused(sqlite_client: TestClient) -> None:
    for when in ({"kind": "magic"}, {"kind": "metric"}, ERRORS | {"metric": "beauty"}, ERRORS | {"window_s": 1}):
        assert sqlite_client.put(f"{URL}/rules/x", json={"when": when}).status_code == 422
    body = {"when": {"kind": "rollout"}, "channels": ["nobody"]}
    assert sqlite_client.put(f"{URL}/rules/x", json=body).status_code == 404
    assert sqlite_client.delete(f"{URL}/rules/drift").status_code == 409


def test_an_alert_has_one_open_row_at_most(alerts: Alerts) -> None:
    alerts.rule("stuck", {"kind": "rollout"})
    add_rollout(alerts, state="paused")
    alerts.look(times=3)
    with alerts.hub.database.session() as session:
        assert len(session.exec(select(AlertRow).where(AlertRow.rule == "stuck")).all()) == 1
