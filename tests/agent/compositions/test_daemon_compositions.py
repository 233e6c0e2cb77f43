"""The hub's signed wish becomes a cascade of the real agent's models, which outlasts a restart."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in
from tests.simulators.tiny_model import GOLDEN, TinyVersion, answer

from shoal_contract.compositions import Cascade, DesiredComposition, Stage

STEPS = DesiredComposition(version=2, form=Cascade(stages=(Stage(model="small", confidence=1.0), Stage(model="large"))))
BODY = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [2, 4], "data": GOLDEN.ravel().tolist()}]}


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


def test_a_signed_wish_is_served_when_its_members_are_and_after_a_restart(hub: HubStandIn, agent: AgentProcess) -> None:
    small, large = TinyVersion(1, model="small"), TinyVersion(2, model="large")
    for version in (small, large):
        hub.publish_artifact(version.file)
        hub.publish_manifest(version.manifest())
    hub.want({"small": small.wanted("dp-1")}, compositions={"steps": STEPS})
    report = hub.wait_for_section("compositions/steps", "held")
    assert report.sections["compositions/steps"].problem is not None
    hub.wait_for_section("models/small", "applied")
    status, body = agent.ask("/v2/models/steps/infer", BODY)
    assert (status, "its member 'large' is not served" in body["error"]) == (503, True)

    hub.want({"small": small.wanted("dp-1"), "large": large.wanted("dp-2")}, compositions={"steps": STEPS})
    hub.wait_for_section("compositions/steps", "applied")
    for _ in range(2):
        status, body = agent.ask("/v2/models/steps/infer", BODY)
        assert (status, body["model_version"]) == (200, "2")
        assert body["parameters"] == {"members": "small/1,large/2", "answered_by": "large"}
        found = np.array(body["outputs"][0]["data"]).reshape(2, 2)
        np.testing.assert_allclose(found, answer(large.weights, GOLDEN), atol=1e-5)
        assert agent.stop() == 0
        agent.start()

    hub.want({"small": small.wanted("dp-1"), "large": large.wanted("dp-2")})
    hub.wait_until(lambda seen: seen.reported is not None and "compositions/steps" not in seen.reported.sections)
    assert agent.ask("/v2/models/steps/infer", BODY)[0] == 404
