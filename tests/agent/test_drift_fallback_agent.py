"""A real agent without its broker goes back by itself once the inputs have drifted, and tells of it afterwards."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.agent.test_daemon import roll_out
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in
from tests.simulators.tiny_model import FEATURES, TinyVersion

from shoal_agent.capture import CaptureStore
from shoal_agent.clock import system_clock
from shoal_contract.desired import DesiredConfig, DriftFallBack

MOVED = np.full((100, FEATURES), 5, dtype=np.float32)
FALLS_BACK = DesiredConfig(window_s=1, window_requests=10_000, drift_fall_back=DriftFallBack())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    with hub_stand_in(tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    rules = tmp_path / "capture.toml"
    rules.write_text("[models.tiny]\nshare_of_drifted = 1\n")
    rules.chmod(0o600)
    process = AgentProcess(tmp_path / "device", "--runtime", "onnxruntime", "--capture", "--capture-rules", str(rules))
    hub.enrol(process.data / "identity")
    yield process.start()
    process.close()


def answered_by(agent: AgentProcess, rows: np.ndarray) -> str:  # type: ignore[type-arg]
    tensor = {"name": "image", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}
    status, body = agent.ask("/v2/models/tiny/infer", {"inputs": [tensor]})
    assert status == 200, body
    return str(body["model_version"])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_agent_without_its_broker_has_the_version_before_answer_and_tells_of_it_afterwards(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    for number in (1, 2):
        roll_out(hub, TinyVersion(number), f"dp-{number}", config=FALLS_BACK)
        hub.wait_for_section("models/tiny", "applied", f"dp-{number}")
    hub.broker.process.stop()
    assert answered_by(agent, MOVED) == "2"
    deadline_s = time.monotonic() + 120
    while answered_by(agent, MOVED) == "2":  # 32 windows are learned from before any is judged
        assert time.monotonic() < deadline_s, agent.log()[-2000:]
        time.sleep(0.2)
    answered_by(agent, MOVED)
    while not CaptureStore(agent.data / "capture", system_clock).kept():  # samples of what has drifted
        assert time.monotonic() < deadline_s, agent.log()[-2000:]
        time.sleep(0.1)
    hub.broker.restart(keeps_what_is_retained=True)
    hub.wait_until(
        lambda seen: seen.reported is not None and seen.reported.models["tiny"].fallback is not None, timeout_s=60
    )
    report = hub.reported
    assert report is not None
    told = report.models["tiny"]
    assert told.active is not None
    assert told.fallback is not None
    assert (told.active.version, told.fallback.version, told.fallback.features) == (2, 1, FEATURES)
