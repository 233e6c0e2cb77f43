"""The hub's signed wish becomes a pipeline of the real agent, and its values and windows outlast a restart."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.features.conftest import BY_TIME, PAIRS
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in

from shoal_contract.features import DesiredFeatures, HttpSource, Pipeline

FEATURES = DesiredFeatures(
    definitions={"pairs": PAIRS},
    pipelines={
        "pumps": Pipeline(source=HttpSource(), form=BY_TIME, definitions=("pairs",)),
        "broken": Pipeline(source=HttpSource(), definitions=("missing",)),
    },
)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in(tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path / "device", "--runtime", "onnxruntime")
    hub.enrol(process.data / "identity")
    yield process.start()
    process.close()


def send(agent: AgentProcess, x: float) -> None:
    status, body = agent.ask("/shoal/v1/events/pumps", {"id": "a", "t": time.time(), "x": x})
    assert status == 202, body


def wait_for(agent: AgentProcess, path: str, is_so: Any) -> Any:
    deadline_s = time.monotonic() + 20
    while True:
        status, body = agent.ask(path)
        if status == 200 and is_so(body):
            return body
        assert time.monotonic() < deadline_s, (status, body, agent.log()[-2000:])
        time.sleep(0.02)


def test_a_signed_wish_runs_a_pipeline_that_goes_on_after_a_restart(hub: HubStandIn, agent: AgentProcess) -> None:
    hub.want({}, features=FEATURES)
    hub.wait_for_section("features/pumps", "applied")
    report = hub.wait_for_section("features/broken", "failed").sections["features/broken"]
    assert report.problem is not None
    assert "'missing'" in report.problem.message

    for x in (1.0, 3.0, 10.0):
        send(agent, x)
    wait_for(agent, "/shoal/v1/pipelines", lambda body: body["pumps"]["lines"]["events"] == 3)
    assert agent.stop() == 0
    agent.start()

    read = "/shoal/v1/features/a"
    found = wait_for(agent, read, lambda body: body["is_known"])["features"]["pairs/mean"]
    assert (found["value"], found["is_fresh"]) == (2.0, True)
    wait_for(agent, "/shoal/v1/pipelines", lambda body: "pumps" in body)
    send(agent, 20.0)
    wait_for(agent, read, lambda body: body["features"]["pairs/mean"]["value"] == 15.0)

    hub.want({})
    hub.wait_until(lambda seen: seen.reported is not None and "features/pumps" not in seen.reported.sections)
    assert agent.ask("/shoal/v1/pipelines") == (200, {})
