"""A cascade from the command line to a device that serves it: asked, told the truth, changed and taken away."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.flows.conftest import Fleet, running_fleet
from tests.hub.registry.bundles import write_bundle

WAIT_S = 30.0
ROWS = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running_fleet(tmp_path, SHOAL_TICK_S="0.5", SHOAL_LONGEST_SWEEP_REST_S="0.5") as running:
        yield running


def shoal(fleet: Fleet, *arguments: str) -> Any:
    """Run a command of the operators' CLI; return what it says as JSON."""
    command = [sys.executable, "-m", "shoal_hub", "compositions", *arguments, "--json"]
    ran = subprocess.run(command, env=fleet.hub.environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """Look until it holds, and return what was seen."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds(seen := look()):
        assert time.monotonic() < deadline_s, seen
        time.sleep(0.1)
    return seen


def ask(fleet: Fleet, name: str) -> tuple[int, dict[str, Any]]:
    tensor = {"name": "features", "datatype": "FP32", "shape": list(ROWS.shape), "data": ROWS.ravel().tolist()}
    return fleet.agents[0].ask(f"/v2/models/{name}/infer", {"inputs": [tensor]})


def states(fleet: Fleet) -> dict[str, str]:
    return {one["name"]: one["state"] for one in shoal(fleet, "status", "shades")}


@pytest.mark.slow
def test_a_cascade_that_the_command_line_made_serves_and_learns_the_truth(fleet: Fleet, tmp_path: Path) -> None:
    kitchen = fleet.device_ids[0]
    fleet.client.devices.configure(kitchen, window_s=1, window_requests=1000)
    for seed, model in enumerate(("quick", "thorough")):
        fleet.register(write_bundle(tmp_path / model, seed=seed, name=model), model)
    form = tmp_path / "shades.toml"
    form.write_text('kind = "cascade"\nstages = [{ model = "quick", confidence = 0.6 }, { model = "thorough" }]\n')
    made = shoal(fleet, "create", "shades", str(form), "--device", "kitchen")
    assert (made["models"], made["devices"]) == (["quick", "thorough"], [kitchen])
    wait_for(lambda: states(fleet), lambda seen: seen == {"kitchen": "held"})
    for model in ("quick", "thorough"):
        rollout = fleet.client.rollouts.start(model, "1", devices=[kitchen])
        fleet.watch(rollout.id, "succeeded")
    wait_for(lambda: states(fleet), lambda seen: seen == {"kitchen": "applied"})

    status, answer = ask(fleet, "shades")
    assert status == 200, answer
    assert answer["parameters"]["answered_by"] == "quick,thorough"
    places = np.array(list(answer["parameters"]["answered_by_sample"]), dtype=int)
    truth = np.array(answer["outputs"][0]["data"]).reshape(-1, 3).argmax(axis=1)
    truth[0] = (truth[0] + 1) % 3
    status, counted = fleet.agents[0].ask("/feedback", {"request_id": answer["id"], "labels": truth.tolist()})
    assert status == 200, counted
    assert (counted["model"], counted["labelled"], counted["correct"]) == ("shades", 40, 39)
    expected = {
        model: (int((places == place).sum()), int((places[1:] == place).sum()))
        for place, model in enumerate(("quick", "thorough"))
    }
    assert {one["model"]: (one["labelled"], one["correct"]) for one in counted["members"]} == expected
    wait_for(lambda: labelled(fleet), lambda seen: seen == expected)

    assert shoal(fleet, "change", "shades", "--member", "quick", "--member", "thorough:2")["version"] == 2
    wait_for(lambda: ask(fleet, "shades")[1].get("model_version"), lambda seen: seen == "2")
    shoal(fleet, "remove", "shades")
    wait_for(lambda: ask(fleet, "shades")[0], lambda seen: seen == 404)
    assert ask(fleet, "quick")[0] == 200


def labelled(fleet: Fleet) -> dict[str, tuple[int, int]]:
    """Return what the hub knows of labels, by model: how many, and how many right."""
    found: dict[str, tuple[int, int]] = {}
    for window in fleet.client.drift.windows():
        so_far = found.get(window.model, (0, 0))
        found[window.model] = (so_far[0] + window.labelled, so_far[1] + window.correct)
    return found
