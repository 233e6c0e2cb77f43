"""What goes wrong around a real agent: the last good version serves, the hub reads why, and it converges afterwards."""

import itertools
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.tiny_model import GOLDEN, TinyVersion, answer

from shoal_agent.federated import Datasets
from shoal_contract import topics
from shoal_contract.desired import DesiredConfig
from shoal_contract.ids import sha256_hex
from shoal_contract.reported import Problem
from shoal_contract.telemetry import Heartbeat, TelemetryMessage

CHUNK = 16 * 1024
NO_WAIT = DesiredConfig(reconnect_jitter_s=0)
NUMBERS = itertools.count(2)


def roll_out(hub: HubStandIn, version: TinyVersion, skip: frozenset[int] = frozenset(), **changes: Any) -> str:
    """Publish a version without the chunks in `skip`, and ask for it; return the deployment."""
    hub.publish_artifact(version.file, skip, CHUNK)
    hub.publish_manifest(version.manifest())
    deployment = f"dp-{version.number}"
    hub.want({"tiny": version.wanted(deployment)}, config=changes.pop("config", NO_WAIT), **changes)
    return deployment


def is_empty(beat: TelemetryMessage) -> bool:
    """Whether a heartbeat says that nothing waits in the outbox."""
    return isinstance(beat.body, Heartbeat) and beat.body.outbox_depth == 0


def publish_chunk(hub: HubStandIn, data: bytes, index: int, chunk: bytes | None = None) -> None:
    genuine = data[index * CHUNK : (index + 1) * CHUNK]
    hub.publish(topics.artifact_chunk(sha256_hex(data), index), genuine if chunk is None else chunk)


def wait_for_problem(hub: HubStandIn, deployment: str) -> Problem:
    """Wait until the model's section reports a problem of this deployment; return it."""

    def has_problem(seen: HubStandIn) -> bool:
        section = seen.reported.sections.get("models/tiny") if seen.reported else None
        return section is not None and section.deployment == deployment and section.problem is not None

    hub.wait_until(has_problem)
    assert hub.reported is not None
    problem = hub.reported.sections["models/tiny"].problem
    assert problem is not None
    return problem


def steps(hub: HubStandIn, deployment: str) -> list[str]:
    """Return the steps of a deployment in the order of the outbox, each once however often it came."""
    told = {event.outbox.sequence: event.body for event in hub.events if event.body.kind == "deployment"}
    return [step for _, body in sorted(told.items()) if body.deployment == deployment for step in body.steps]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def _enrolled(hub: HubStandIn, folder: Path) -> AgentProcess:
    process = AgentProcess(folder, is_quick=True)
    hub.enrol(process.data / "identity")
    return process


@pytest.fixture(scope="module")
def lasting(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubStandIn, AgentProcess]]:
    """A device that serves version 1 and lives through several tests."""
    with hub_of_one(broker) as hub:
        process = _enrolled(hub, tmp_path_factory.mktemp("device") / "data").start()
        hub.wait_for_section("models/tiny", "applied", roll_out(hub, TinyVersion(1)))
        yield hub, process
        process.close()


@pytest.fixture
def hub(broker: Broker) -> Iterator[HubStandIn]:
    with hub_of_one(broker) as stand_in:
        yield stand_in


@pytest.fixture
def agent(hub: HubStandIn, tmp_path: Path) -> Iterator[AgentProcess]:
    """A device of the test's own, which serves nothing yet."""
    process = _enrolled(hub, tmp_path / "data")
    yield process.start()
    process.close()


@pytest.mark.parametrize("fault", ["missing", "flipped", "truncated"])
def test_a_chunk_that_is_missing_or_wrong_is_asked_for_and_converges_as_soon_as_it_is_there(
    lasting: tuple[HubStandIn, AgentProcess], fault: str
) -> None:
    hub, agent = lasting
    before, version = agent.serves("tiny"), TinyVersion(next(NUMBERS), padding_bytes=6 * CHUNK)
    wrong = {"missing": b"", "flipped": bytes(CHUNK), "truncated": version.file[2 * CHUNK : 3 * CHUNK - 1]}
    publish_chunk(hub, version.file, 2, wrong[fault])
    deployment = roll_out(hub, version, skip=frozenset({2}))

    problem = wait_for_problem(hub, deployment)
    missing = sha256_hex(version.file)
    hub.wait_until(lambda seen: any(getattr(event.body, "sha256", "") == missing for event in seen.events))

    assert problem.code == "fetch"
    assert hub.reported is not None
    assert hub.reported.sections["models/tiny"].state == "working"
    assert agent.serves("tiny") == before
    publish_chunk(hub, version.file, 2)
    hub.wait_for_section("models/tiny", "applied", deployment)
    assert agent.serves("tiny") == version.number


def test_a_model_that_fails_its_golden_input_fails_and_the_old_one_serves(
    lasting: tuple[HubStandIn, AgentProcess],
) -> None:
    hub, agent = lasting
    before = agent.serves("tiny")
    bad = TinyVersion(next(NUMBERS), golden_outputs=np.zeros((2, 2), dtype=np.float32))
    deployment = roll_out(hub, bad)

    hub.wait_for_section("models/tiny", "failed", deployment)

    assert wait_for_problem(hub, deployment).code == "golden"
    hub.wait_until(lambda seen: steps(seen, deployment)[-1:] == ["fail"])
    assert agent.serves("tiny") == before


def test_a_model_that_is_no_longer_wanted_goes_from_the_device_and_its_report(
    lasting: tuple[HubStandIn, AgentProcess],
) -> None:
    hub, agent = lasting
    hub.want({}, config=NO_WAIT)
    hub.wait_until(lambda seen: seen.reported is not None and not seen.reported.models)
    assert agent.serves("tiny") is None
    assert hub.reported is not None
    assert "models/tiny" not in hub.reported.sections
    deadline_s = time.monotonic() + 5
    while list((agent.data / "blobs").iterdir()):
        assert time.monotonic() < deadline_s, "artifacts that nothing needs stay"
        time.sleep(0.02)

    version = TinyVersion(next(NUMBERS))
    hub.wait_for_section("models/tiny", "applied", roll_out(hub, version))
    assert agent.serves("tiny") == version.number


def test_examples_that_a_person_adds_are_reported_without_a_restart(
    lasting: tuple[HubStandIn, AgentProcess], tmp_path: Path
) -> None:
    hub, agent = lasting
    often = DesiredConfig(reconnect_jitter_s=0, heartbeat_s=1)
    hub.wait_for_section("models/tiny", "applied", roll_out(hub, TinyVersion(next(NUMBERS)), config=often))
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4), dtype=np.float32), y=np.zeros(3, dtype=np.int32))
    Datasets(agent.data / "datasets").add("digits", tmp_path / "x.npz")
    hub.wait_until(lambda seen: seen.reported is not None and seen.reported.datasets == {"digits": 3})


@pytest.mark.parametrize(
    "step",
    [
        "fetch",
        pytest.param("verify", marks=pytest.mark.slow),
        "stage",
        pytest.param("activate", marks=pytest.mark.slow),
        "commit",
    ],
)
def test_an_agent_killed_around_any_step_serves_one_of_the_two_versions_and_converges(
    hub: HubStandIn, agent: AgentProcess, step: str
) -> None:
    hub.wait_for_section("models/tiny", "applied", roll_out(hub, TinyVersion(1)))
    second = TinyVersion(2, padding_bytes=7 * CHUNK)  # no other test has left its chunks at the broker
    held = frozenset({3}) if step == "fetch" else frozenset[int]()
    deployment = roll_out(hub, second, skip=held)
    hub.wait_until(lambda seen: step in steps(seen, deployment))
    agent.kill()

    agent.start()

    assert agent.serves("tiny") in ({1} if step == "fetch" else {1, 2})
    for index in held:
        publish_chunk(hub, second.file, index)
    hub.wait_for_section("models/tiny", "applied", deployment)
    hub.wait_until(lambda seen: seen.reported is not None and seen.reported.models["tiny"].active is not None)
    assert agent.serves("tiny") == 2
    assert "Traceback" not in agent.log()


def test_a_killed_agent_is_told_offline_by_its_will_under_the_number_of_its_connection(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    hub.wait_until(lambda seen: any(presence.state == "online" for presence in seen.presences))
    online = hub.presences[-1]

    agent.kill()

    hub.wait_until(lambda seen: seen.presences[-1].state == "offline")
    offline = hub.presences[-1]
    assert (offline.connection, offline.reason) == (online.connection, "connection lost")
    assert (offline.connection, offline.sequence) > (online.connection, online.sequence)

    agent.start()
    hub.wait_until(lambda seen: seen.presences[-1].state == "online")
    assert hub.presences[-1].connection > offline.connection


def test_what_the_hub_has_not_acknowledged_is_sent_after_a_restart_and_nothing_is_lost(
    hub: HubStandIn, agent: AgentProcess
) -> None:
    hub.acknowledges = False
    deployment = roll_out(hub, TinyVersion(1), config=NO_WAIT.model_copy(update={"heartbeat_s": 1.0}))
    hub.wait_for_section("models/tiny", "applied", deployment)
    agent.kill()
    hub.events.clear()
    hub.telemetry.clear()

    hub.acknowledges = True
    agent.start()

    hub.wait_until(lambda seen: steps(seen, deployment) == ["fetch", "verify", "stage", "activate", "commit"])
    sequences = sorted({event.outbox.sequence for event in hub.events})
    assert sequences == list(range(1, len(sequences) + 1))
    hub.wait_until(lambda seen: any(is_empty(beat) for beat in seen.telemetry))  # it has heard that the hub has all
    assert agent.stop() == 0
    with sqlite3.connect(agent.data / "outbox.sqlite") as outbox:
        assert outbox.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    outbox.close()


@pytest.mark.parametrize("part", ["blob", "state", "outbox", "desired"])
def test_a_disk_that_damages_a_file_while_the_agent_is_off_is_mended_by_the_next_start(
    hub: HubStandIn, agent: AgentProcess, part: str
) -> None:
    for number in (1, 2):
        version = TinyVersion(number)
        deployment = roll_out(hub, version)
        hub.wait_for_section("models/tiny", "applied", deployment)
    assert agent.stop() == 0
    paths = {
        "blob": agent.data / "blobs" / sha256_hex(version.file),
        "state": agent.data / "models" / "tiny" / "state.json",
        "outbox": agent.data / "outbox.sqlite",
        "desired": agent.data / "trust" / "desired.json",
    }
    paths[part].write_bytes(b"the disk has damaged this")
    before = hub.reported.connection if hub.reported else 0

    agent.start()

    hub.wait_until(lambda seen: seen.reported is not None and seen.reported.connection > before)
    hub.wait_for_section("models/tiny", "applied", deployment)
    assert agent.serves("tiny") == 2
    assert "Traceback" not in agent.log()


@pytest.mark.parametrize("keeps", [True, False], ids=["stopped-and-kept", "killed-and-lost"])
def test_a_broker_that_is_away_in_the_middle_of_a_transfer_only_delays_it(tmp_path: Path, *, keeps: bool) -> None:
    with running_broker(tmp_path / "hub") as broker, hub_of_one(broker) as hub:
        agent = _enrolled(hub, tmp_path / "data").start()
        try:
            hub.wait_for_section("models/tiny", "applied", roll_out(hub, TinyVersion(1)))
            second = TinyVersion(2, padding_bytes=7 * CHUNK)  # no other test has left its chunks at the broker
            deployment = roll_out(hub, second, skip=frozenset({3}))
            wait_for_problem(hub, deployment)

            if not keeps:
                os.kill(broker.process.pid or 0, signal.SIGKILL)
            broker.restart(keeps_what_is_retained=keeps)
            hub.wait_connected()
            hub.presences.clear()
            assert agent.serves("tiny") == 1
            if not keeps:
                hub.generation -= 1
                roll_out(hub, second)
            publish_chunk(hub, second.file, 3)

            hub.wait_until(lambda seen: any(presence.state == "online" for presence in seen.presences))
            hub.wait_for_section("models/tiny", "applied", deployment)
            assert agent.serves("tiny") == 2
            assert agent.stop() == 0
        finally:
            agent.close()


def test_a_version_that_is_served_answers_as_its_weights_say_after_all_of_this(
    lasting: tuple[HubStandIn, AgentProcess],
) -> None:
    hub, agent = lasting
    version = TinyVersion(next(NUMBERS))
    hub.wait_for_section("models/tiny", "applied", roll_out(hub, version))
    tensor = {"name": "image", "datatype": "FP32", "shape": list(GOLDEN.shape), "data": GOLDEN.ravel().tolist()}
    status, body = agent.ask("/v2/models/tiny/infer", {"inputs": [tensor]})
    assert status == 200
    np.testing.assert_allclose(body["outputs"][0]["data"], answer(version.weights, GOLDEN).ravel(), atol=1e-5)
    assert "Traceback" not in agent.log()
