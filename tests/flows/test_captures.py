"""Captured samples from a device to the hub: asked for, let out by the owner, with the label that came back."""

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.flows.test_site_cache import with_options

from shoal_client.captures import Capture

WAIT_S = 30.0
X = [[0.5, -1.0, 2.0, 0.25]]


@pytest.mark.slow
def test_a_sample_that_is_asked_for_and_let_out_comes_with_its_label_and_no_other_one(
    fleet: Fleet, tmp_path: Path
) -> None:
    number = fleet.add_version(tmp_path / "one", seed=0)
    fleet.watch(fleet.client.rollouts.start(MODEL, str(number)).id, "succeeded")
    rules = tmp_path / "capture.toml"
    rules.write_text(f"[models.{MODEL}]\nshare = 1.0\n")
    options = ("--capture", "--capture-rules", str(rules))
    kitchen, garden = fleet.agents
    with with_options(kitchen, *options, "--send-captures") as open_hand, with_options(garden, *options) as closed_hand:
        fleet.client.captures.want(MODEL, after_s=3)
        for agent in (open_hand, closed_hand):
            body = infer(agent, "r-1")
            told = {"request_id": "r-1", "label": 2}
            assert agent.ask("/feedback", told)[0] == 200, body
        [sample] = wait_for(fleet.client.captures.list, bool)
        check(fleet, sample, open_hand.device_id, number)

        problem = wait_for(lambda: section(fleet, closed_hand.device_id), lambda one: one.problem is not None).problem
        assert "--send-captures" in problem.remedy
        assert section(fleet, open_hand.device_id).state == "applied"

        fleet.client.captures.delete(sample.id)
        fleet.client.captures.unwant(MODEL)
        wait_for(lambda: fleet.client.devices.show(open_hand.device_id), lambda one: "captures" not in one.sections)
        infer(open_hand, "r-2")
        time.sleep(4)  # longer than a sample waits, and two looks
        assert fleet.client.captures.list() == []
        open_hand.stop()
        months = json.loads((open_hand.data / "ledger.json").read_text())["months"]
        [counted] = [one["captures"]["sent_bytes"] for one in months.values() if "captures" in one]
        assert sample.size_bytes < counted < sample.size_bytes + 1000


def check(fleet: Fleet, sample: Capture, device_id: str, number: int) -> None:
    assert (sample.device_id, sample.model, sample.version) == (device_id, MODEL, number)
    assert (sample.request_id, sample.reasons, sample.true_label) == ("r-1", ["random"], 2)
    arrays = np.load(io.BytesIO(fleet.client.captures.fetch(sample.id)))
    assert arrays["features"].tolist() == X[0]


def infer(agent: Any, request_id: str) -> Any:
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": X}
    status, body = agent.ask(f"/v2/models/{MODEL}/infer", {"inputs": [tensor], "id": request_id})
    assert status == 200, body
    return body


def section(fleet: Fleet, device_id: str) -> Any:
    return wait_for(lambda: fleet.client.devices.show(device_id).sections.get("captures"), lambda one: one is not None)


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    deadline_s = time.monotonic() + WAIT_S
    while not holds(seen := look()):
        assert time.monotonic() < deadline_s, seen
        time.sleep(0.1)
    return seen
