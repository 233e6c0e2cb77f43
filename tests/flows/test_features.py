"""Features from the hub to a device that computes them: set over the API, changed, and taken away."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.flows.conftest import Fleet, running_fleet
from tests.simulators.feature_sets import features

from shoal_client.features import FeatureDevice

WAIT_S = 20.0
COUNTED = {
    "window": {"kind": "count", "size": 4, "every": 4},
    "features": {"level": {"aggregate": "mean", "field": "x"}},
}
SUMMED = COUNTED | {"features": {"peak": {"aggregate": "max", "field": "x"}}}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running_fleet(tmp_path, SHOAL_TICK_S="0.5", SHOAL_LONGEST_SWEEP_REST_S="0.5") as running:
        yield running


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """Look until it holds, and return what was seen."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds(seen := look()):
        assert time.monotonic() < deadline_s, seen
        time.sleep(0.05)
    return seen


@pytest.mark.slow
def test_a_device_computes_what_it_is_assigned_and_its_changes_until_that_is_taken_away(fleet: Fleet) -> None:
    client, kitchen = fleet.client, fleet.agents[0]
    client.features.set("plant", features(form={"kind": "json"}) | {"definitions": {"vibration": COUNTED}})
    client.groups.create("warm", query="tags.warm = yes")
    client.features.assign("plant", group="warm")
    assert list(client.features.devices("plant")) == []
    client.devices.update(kitchen.device_id, tags={"warm": "yes"})
    wait_for(lambda: states(fleet), lambda seen: seen == {kitchen.device_id: ["applied"]})

    push(fleet, [1, 2, 3, 6])
    wait_for(lambda: values(fleet), lambda seen: seen.get("vibration/level") == 3.0)

    client.features.set("plant", features() | {"definitions": {"vibration": SUMMED}})
    wait_for(lambda: states(fleet), lambda seen: seen == {kitchen.device_id: ["applied"]})
    push(fleet, [1, 2, 7, 4])
    assert wait_for(lambda: values(fleet), lambda seen: seen.get("vibration/peak") == 7.0).keys() == {"vibration/peak"}
    assert client.devices.show(kitchen.device_id).sections["features/pumps"].state == "applied"

    client.features.set(
        "plant", features(source={"kind": "file", "path": "/etc/passwd"}) | {"definitions": {"vibration": SUMMED}}
    )
    wait_for(lambda: states(fleet), lambda seen: seen == {kitchen.device_id: ["failed"]})
    [said] = next(iter(client.features.devices("plant"))).pipelines
    assert said.problem is not None
    assert "/etc/passwd" in said.problem.message

    client.features.unassign("plant", group="warm")
    wait_for(lambda: client.devices.show(kitchen.device_id), lambda seen: "features/pumps" not in seen.sections)
    assert kitchen.ask("/shoal/v1/pipelines") == (200, {})


def states(fleet: Fleet) -> dict[str, list[str]]:
    def of(device: FeatureDevice) -> list[str]:
        return [one.state for one in device.pipelines]

    return {one.id: of(one) for one in fleet.client.features.devices("plant")}


def push(fleet: Fleet, values: list[float]) -> None:
    status, body = fleet.agents[0].ask("/shoal/v1/events/pumps", [{"x": value} for value in values])
    assert status == 202, body


def values(fleet: Fleet) -> dict[str, float | None]:
    status, body = fleet.agents[0].ask("/shoal/v1/features/device")
    return {} if status != 200 else {name: one["value"] for name, one in body["features"].items()}
