"""A real hub, real agents and a version that they can run, for flows from end to end."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.hub.registry.bundles import keras_archive, record, write_bundle
from tests.simulators.agent_process import AgentProcess
from tests.simulators.hub_process import HubProcess

from shoal_agent.enrol import enrol
from shoal_client import ShoalClient
from shoal_client.rollouts import RolloutDetail

TECHNIQUE = "int8-qdq-onnx"
MODEL = "colours"


class Fleet(NamedTuple):
    """One hub, its client, and its agents."""

    hub: HubProcess
    client: ShoalClient
    agents: list[AgentProcess]

    @property
    def device_ids(self) -> list[str]:
        return [agent.device_id for agent in self.agents]

    def add_version(self, folder: Path, seed: int, model_onnx: bytes | None = None) -> int:
        """Register a version of the tiny model, or of a larger file that answers alike, compressed for ONNX Runtime."""
        return self.register(write_bundle(folder, seed=seed, model_onnx=model_onnx))

    def register(self, bundle: Path, model: str = MODEL) -> int:
        """Register a bundle as the next version of a model and compress it for ONNX Runtime."""
        add_source(bundle)
        number = self.client.models.register_bundle(bundle).number
        self.client.wait_for_job(self.client.models.compress(model, number, [TECHNIQUE]).id)
        return number

    def watch(self, rollout_id: str, until: str) -> RolloutDetail:
        """Follow a rollout until it is in a state."""
        for rollout in self.client.rollouts.watch(rollout_id):
            if rollout.state == until:
                return rollout
        raise AssertionError(f"the rollout ended {rollout.state}: {rollout.reason} {rollout.deployments}")

    def predict(self, index: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Ask one agent's endpoint about x (n, 4); return the scores (n, 3)."""
        tensor = {"name": "features", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        status, body = self.agents[index].ask(f"/v2/models/{MODEL}/infer", {"inputs": [tensor]})
        assert status == 200, body
        output = body["outputs"][0]
        return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A hub and two agents, enrolled by one-time tokens and CSRs over HTTPS."""
    with running_fleet(tmp_path) as running:
        yield running


@contextmanager
def running_fleet(tmp_path: Path, **settings: str) -> Iterator[Fleet]:
    """Run a hub under these settings, and two agents, for the length of the block."""
    hub = HubProcess(tmp_path / "hub", **settings).start()
    agents: list[AgentProcess] = []
    try:
        with hub.client() as client:
            for name in ("kitchen", "garden"):
                agent = AgentProcess(tmp_path / name, "--runtime", "onnxruntime")
                token = client.tokens.create().token
                agent.device_id = enrol(agent.data / "identity", hub.url, token, name).device_id
                agents.append(agent)
                agent.start()
            _wait_for_reports(client, len(agents))
            yield Fleet(hub, client, agents)
    finally:
        for agent in agents:
            agent.close()
        hub.close()


def add_source(bundle: Path) -> None:
    """Give the bundle a Keras file, which compression asks for and this technique does not open."""
    (bundle / "model.keras").write_bytes(keras_archive())
    description = json.loads((bundle / "bundle.json").read_text())
    description["files"]["model.keras"] = record(bundle / "model.keras")
    (bundle / "bundle.json").write_text(json.dumps(description))


def _wait_for_reports(client: ShoalClient, count: int) -> None:
    tick = threading.Event()
    for _ in range(200):
        if sum(bool(device.targets) for device in client.devices.list()) == count:
            return
        tick.wait(0.1)
    raise AssertionError("the agents did not report")
