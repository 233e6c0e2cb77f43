"""The agent as a real process on a real broker over mutual TLS, with a stand-in for the hub."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub import HubStandIn, hub_stand_in
from tests.simulators.tiny_model import FEATURES, GOLDEN, TinyVersion, answer

from shoal_agent.client import Client
from shoal_agent.errors import AgentError
from shoal_agent.local_endpoint import endpoint_of
from shoal_contract import topics
from shoal_contract.desired import DesiredConfig
from shoal_contract.ids import sha256_hex


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


def roll_out(hub: HubStandIn, version: TinyVersion, deployment: str, **changes: object) -> None:
    hub.publish_artifact(version.file)
    hub.publish_manifest(version.manifest())
    hub.want({version.model: version.wanted(deployment)}, **changes)


def infer(agent: AgentProcess, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    tensor = {"name": "image", "datatype": "FP32", "shape": list(batch.shape), "data": batch.ravel().tolist()}
    status, body = agent.ask("/v2/models/tiny/infer", {"inputs": [tensor]})
    assert status == 200, body
    output = body["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


def test_a_version_is_fetched_proved_served_and_reported(hub: HubStandIn, agent: AgentProcess) -> None:
    version = TinyVersion(1, padding_bytes=100_000)
    roll_out(hub, version, "dp-1")

    report = hub.wait_for_section("models/tiny", "applied", "dp-1")

    assert report.models["tiny"].active is not None
    assert (report.models["tiny"].active.version, report.models["tiny"].active.state) == (1, "good")
    np.testing.assert_allclose(infer(agent, GOLDEN), answer(version.weights, GOLDEN), atol=1e-5)
    hub.wait_until(lambda seen: any(event.body.step == "commit" for event in seen.events))  # type: ignore[union-attr]
    steps = [step for event in hub.events for step in event.body.steps]  # type: ignore[union-attr]
    assert steps == ["fetch", "verify", "stage", "activate", "commit"]
    (cost,) = [event.body.cost for event in hub.events if event.body.cost is not None]  # type: ignore[union-attr]
    assert (cost.sha256, cost.runs) == (sha256_hex(version.file), 21)
    assert report.memory_available_bytes is not None


def test_an_agent_with_a_damaged_encryption_key_serves_what_is_not_encrypted_and_says_how_to_mend_it(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    roll_out(hub, TinyVersion(1), "dp-1")
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    agent.stop()
    (agent.data / "identity" / "encryption.pem").write_bytes(b"damaged")
    agent.start()
    assert agent.serves("tiny") == 1
    assert "encryption.pem away" in agent.log()


def test_a_rollback_to_the_previous_version_needs_no_transfer(hub: HubStandIn, agent: AgentProcess) -> None:
    first, second = TinyVersion(1), TinyVersion(2)
    roll_out(hub, first, "dp-1")
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    roll_out(hub, second, "dp-2")
    hub.wait_for_section("models/tiny", "applied", "dp-2")
    for data in (first.file, first.manifest().to_bytes()):
        hub.publish(topics.artifact_manifest(sha256_hex(data)), b"")

    hub.want({"tiny": first.wanted("dp-3")})

    report = hub.wait_for_section("models/tiny", "applied", "dp-3")
    assert report.models["tiny"].active is not None
    assert report.models["tiny"].active.version == 1
    assert agent.serves("tiny") == 1


def test_an_agent_killed_without_hub_and_broker_serves_its_last_good_version_again(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    roll_out(hub, TinyVersion(1), "dp-1")
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    agent.kill()
    hub.broker.process.stop()

    agent.start()

    assert agent.serves("tiny") == 1


def test_telemetry_windows_arrive_and_leave_the_outbox(hub: HubStandIn, agent: AgentProcess) -> None:
    roll_out(hub, TinyVersion(1), "dp-1", config=DesiredConfig(window_requests=10, window_s=60))
    hub.wait_for_section("models/tiny", "applied", "dp-1")

    for _ in range(10):
        infer(agent, np.zeros((3, FEATURES), dtype=np.float32))

    hub.wait_until(lambda seen: any(message.body.kind == "window" for message in seen.telemetry))
    window = next(message.body for message in hub.telemetry if message.body.kind == "window")
    assert (window.requests, window.samples, window.version) == (10, 30, 1)
    assert sum(window.predictions) == 30


def test_what_is_predicted_is_streamed_to_programs_until_the_agent_stops(hub: HubStandIn, agent: AgentProcess) -> None:
    roll_out(hub, TinyVersion(1), "dp-1")
    hub.wait_for_section("models/tiny", "applied", "dp-1")
    foreign = {"Host": "evil.example"}, {"Origin": "https://evil.example"}
    assert [agent.ask("/predictions/stream", headers=one)[0] for one in foreign] == [421, 403]
    found: list[dict[str, object]] = []
    has_one, url = threading.Event(), endpoint_of(agent.data)

    def read() -> None:
        with suppress(AgentError):  # a connection that is cut off says so
            for one in Client(url).stream("tiny"):
                found.append(one)
                has_one.set()

    reader = threading.Thread(target=read)
    reader.start()
    while not has_one.wait(0.05):  # nothing tells that the reader was let in
        infer(agent, GOLDEN[:1])
    began_s = time.monotonic()
    assert agent.stop() == 0
    reader.join(10)
    assert not reader.is_alive()
    assert time.monotonic() - began_s < 5
    assert {(one["model_name"], one["version"], str(one["prediction"]) != "None") for one in found} == {
        ("tiny", "1", True)
    }


def test_a_stop_by_signal_says_farewell(hub: HubStandIn, agent: AgentProcess) -> None:
    hub.wait_until(lambda seen: any(presence.state == "online" for presence in seen.presences))

    assert agent.stop() == 0

    hub.wait_until(lambda seen: seen.presences[-1].state == "offline")
    assert hub.presences[-1].reason == "stopped"


def test_a_runtime_that_dies_on_this_board_is_reported_and_the_agent_goes_on(hub: HubStandIn, tmp_path: Path) -> None:
    package = tmp_path / "packages" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    process = AgentProcess(tmp_path / "device", "--runtime", "onnxruntime")
    process.environment["PYTHONPATH"] = os.pathsep.join([*sys.path, str(package.parent)])
    hub.enrol(process.data / "identity")
    process.start()
    report = hub.wait_for_section("runtimes/tflite_runtime", "failed")
    problem = report.sections["runtimes/tflite_runtime"].problem
    assert problem is not None
    assert "tflite_runtime" in problem.message
    assert "SIGILL" in problem.message
    assert "another build" in problem.remedy
    assert report.runtimes == ("onnxruntime",)
    process.close()
