"""A gate on accuracy: only samples whose true label came back count, and only devices that have any."""

from typing import Any

from fastapi.testclient import TestClient
from tests.hub.rollouts.test_rollout_routes import Fleet
from tests.hub.rollouts.test_statistical_gate import (
    CANARIES,
    DEVICES,
    LABELLED,
    canaries_of,
    first_wave_serves,
    fleet,
    shown,
    step,
    tell_windows,
)

from shoal_hub.context import HubContext

__all__ = ["fleet"]
GATE = {"metrics": [{"name": "accuracy", "margin": 0.05}], "min_devices": 10}
WINDOWS = 8


def begin(client: TestClient, hub: HubContext, fleet: Fleet, **gate: Any) -> tuple[str, list[str], list[str]]:
    tell_windows(hub, fleet.ids, 1, 0.05, at_s=-600, seed=5, wrong=0.1)
    rollout, canaries = first_wave_serves(client, hub, fleet, gate=GATE | gate)
    return rollout, canaries, sorted(set(fleet.ids) - set(canaries))


def tell(hub: HubContext, devices: list[str], version: int, wrong: float, *, rate: float = 0.05, seed: int = 0) -> None:
    for number in range(WINDOWS):
        tell_windows(hub, devices, version, rate, at_s=10 + number, seed=seed + number, wrong=wrong)


def test_a_version_that_is_as_often_right_is_let_pass(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, canaries, controls = begin(client, hub, fleet)
    tell(hub, canaries, 2, 0.1, seed=2)
    tell(hub, controls, 1, 0.1, seed=20)
    step(hub, 120)
    found = shown(client, rollout)
    assert (found["current_wave"], found["gates"][0]["verdict"]) == (1, "advance")
    (metric,) = found["gates"][0]["metrics"]
    assert (metric["name"], metric["unit"], metric["worse"]) == ("accuracy", "of labelled samples", "lower")
    assert metric["canary"]["samples"] == CANARIES * WINDOWS * LABELLED
    assert abs(metric["canary"]["value"] - 0.9) < 0.02
    assert abs(metric["canary"]["before"] - 0.9) < 0.03


def test_a_version_that_is_less_often_right_is_aborted_whatever_else_it_does_well(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries, controls = begin(client, hub, fleet)
    tell(hub, canaries, 2, 0.25, rate=0.0, seed=2)
    tell(hub, controls, 1, 0.1, seed=20)
    step(hub, 120)
    found = shown(client, rollout)
    assert (found["state"], "accuracy: harm" in found["reason"]) == ("aborted", True)


def test_a_version_that_is_right_more_often_is_no_harm(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, canaries, controls = begin(client, hub, fleet)
    tell(hub, canaries, 2, 0.02, seed=2)
    tell(hub, controls, 1, 0.1, seed=20)
    step(hub, 120)
    found = shown(client, rollout)
    assert (found["state"], found["current_wave"]) == ("running", 1)
    assert found["gates"][0]["metrics"][0]["effect"] > 0


def test_devices_without_labels_count_on_neither_side(client: TestClient, hub: HubContext, fleet: Fleet) -> None:
    rollout, canaries, controls = begin(client, hub, fleet, min_devices=5)
    tell(hub, canaries[:6], 2, 0.1, seed=2)
    tell(hub, canaries[6:], 2, 0.0, seed=2)
    tell(hub, controls[:7], 1, 0.1, seed=20)
    tell(hub, controls[7:], 1, 0.0, seed=20)
    step(hub, 120)
    (metric,) = shown(client, rollout)["gates"][0]["metrics"]
    assert (metric["canary"]["devices"], metric["control"]["devices"]) == (6, 7)


def test_where_no_label_comes_back_nothing_is_tested_and_the_wave_is_held(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    rollout, canaries, controls = begin(client, hub, fleet)
    tell(hub, canaries, 2, 0.0, seed=2)
    tell(hub, controls, 1, 0.0, seed=20)
    step(hub, 120)
    found = shown(client, rollout)
    assert (found["current_wave"], found["waits_for"]) == (0, "gate")
    assert found["gates"][0]["tested"] == "not_tested"
    assert len(canaries_of(hub, rollout)) + len(controls) == DEVICES
