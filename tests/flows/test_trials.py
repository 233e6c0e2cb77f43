"""Trials in a real fleet: a candidate in shadow is counted and felt by nobody; in an A/B trial keys stick to a side."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.flows.conftest import MODEL, Fleet

from shoal_client.trials import TrialDetail

WAIT_S = 60.0
KEYS = [f"customer-{number}" for number in range(12)]


def served_first(fleet: Fleet, folder: Path) -> int:
    """Bring version 1 to both devices, and have them tell what they see every second."""
    number = fleet.add_version(folder / "one", seed=0)
    fleet.watch(fleet.client.rollouts.start(MODEL, str(number)).id, "succeeded")
    for device_id in fleet.device_ids:
        fleet.client.devices.configure(device_id, window_s=1, window_requests=10)
    return number


def until(fleet: Fleet, trial_id: str, is_so: Callable[[TrialDetail], bool]) -> TrialDetail:
    tick, deadline_s = threading.Event(), time.monotonic() + WAIT_S
    while True:
        found = fleet.client.trials.show(trial_id)
        if is_so(found):
            return found
        assert time.monotonic() < deadline_s, found
        tick.wait(0.2)


def runs_everywhere(trial: TrialDetail) -> bool:
    return all(one.state == "applied" for one in trial.devices)


def ask(fleet: Fleet, index: int, x: list[float], key: str = "") -> int:
    """Ask one agent once; return the version that answered."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": x}
    headers = {"Shoal-Key": key} if key else {}
    status, body = fleet.agents[index].ask(f"/v2/models/{MODEL}/infer", {"inputs": [tensor]}, headers)
    assert status == 200, body
    return int(body["model_version"])


def label(fleet: Fleet, index: int, x: list[float], key: str, *, is_right: bool) -> int:
    """Ask one agent once, then tell it the true label of its answer; return the version that answered."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": x}
    status, body = fleet.agents[index].ask(f"/v2/models/{MODEL}/infer", {"inputs": [tensor]}, {"Shoal-Key": key})
    assert status == 200, body
    scores = body["outputs"][0]["data"]
    chosen = scores.index(max(scores))
    told = {"model": MODEL, "id": body["id"], "labels": [chosen if is_right else (chosen + 1) % len(scores)]}
    status, counted = fleet.agents[index].ask("/shoal/v1/labels", told)
    assert (status, counted["correct"]) == (200, int(is_right)), counted
    assert counted["version"] == int(body["model_version"])
    return int(body["model_version"])


def answers_to(fleet: Fleet, index: int, version: int) -> bool:
    """Whether one agent has a version loaded, to be asked by its number."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [0.1, 0.2, 0.3, 0.4]}
    status, _ = fleet.agents[index].ask(f"/v2/models/{MODEL}/versions/{version}/infer", {"inputs": [tensor]})
    return status == 200


@pytest.mark.slow
def test_a_candidate_in_shadow_is_counted_felt_by_nobody_and_gone_when_the_trial_stops(
    fleet: Fleet, tmp_path: Path
) -> None:
    first = served_first(fleet, tmp_path)
    second = fleet.add_version(tmp_path / "two", seed=1)
    trial = fleet.client.trials.start(MODEL, str(second), share=1.0, max_cpu_share=8.0, hard_examples=4)
    assert (trial.against, len(trial.devices)) == (first, 2)
    until(fleet, trial.id, runs_everywhere)
    random = np.random.default_rng(5)
    for index in (0, 1):
        for _ in range(40):
            assert ask(fleet, index, random.normal(size=4).tolist()) == first

    def all_counted(found: TrialDetail) -> bool:
        return found.shadow is not None and found.shadow.compared + found.shadow.skipped >= 80

    shadow = until(fleet, trial.id, all_counted).shadow
    assert shadow is not None
    assert (shadow.devices, shadow.errors) == (2, 0)
    assert 0 < shadow.disagreed < shadow.compared, "the two have other weights"
    assert fleet.client.trials.show(trial.id).examples == [], "no device's owner lets inputs out"

    fleet.client.trials.stop(trial.id)
    deadline_s = time.monotonic() + WAIT_S
    while any((agent.data / "trials" / MODEL / "state.json").exists() for agent in fleet.agents):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    assert [agent.serves(MODEL) for agent in fleet.agents] == [first, first]


@pytest.mark.slow
def test_in_an_ab_trial_keys_stick_to_a_side_on_every_device_and_after_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    first = served_first(fleet, tmp_path)
    second = fleet.add_version(tmp_path / "two", seed=1)
    trial = fleet.client.trials.start(MODEL, str(second), mode="ab", share=0.5)
    until(fleet, trial.id, runs_everywhere)
    sides = {key: ask(fleet, 0, [0.1, 0.2, 0.3, 0.4], key) for key in KEYS}
    assert {ask(fleet, 0, [0.1, 0.2, 0.3, 0.4]) for _ in range(3)} == {first}, "without a key what serves answers"
    assert set(sides.values()) <= {first, second}
    assert {key: ask(fleet, 1, [0.1, 0.2, 0.3, 0.4], key) for key in KEYS} == sides

    fleet.agents[0].kill()
    fleet.agents[0].start()
    deadline_s = time.monotonic() + WAIT_S
    while not answers_to(fleet, 0, second):
        assert time.monotonic() < deadline_s, fleet.agents[0].log()[-2000:]
        time.sleep(0.1)
    assert {key: ask(fleet, 0, [0.1, 0.2, 0.3, 0.4], key) for key in KEYS} == sides
    by_version = {number: sum(side == number for side in sides.values()) for number in (first, second)}

    rights = {key: number % 3 > 0 for number, key in enumerate(KEYS)}
    answered = [label(fleet, 1, [0.1, 0.2, 0.3, 0.4], key, is_right=is_right) for key, is_right in rights.items()]
    assert answered == list(sides.values())

    def heard(found: TrialDetail) -> bool:
        arms = {arm.version: (arm.requests, arm.labelled) for arm in found.arms}
        counts = [(*arms.get(number, (0, 0)), count) for number, count in by_version.items()]
        return all(requests >= 3 * count and labelled == count for requests, labelled, count in counts)

    accuracy = {arm.version: arm.accuracy for arm in until(fleet, trial.id, heard).arms}
    for number in {first, second} & set(sides.values()):
        mine = [is_right for key, is_right in rights.items() if sides[key] == number]
        assert accuracy[number] == sum(mine) / len(mine), "each arm's labels are its own"
