"""A site of two devices in a real fleet: the second has a version from the first, and whatever happens, it has it."""

import hashlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.flows.conftest import MODEL, TECHNIQUE, Fleet, running_fleet
from tests.hub.registry.bundles import WEIGHTS, keras_archive, write_bundle
from tests.simulators.agent_process import AgentProcess
from tests.simulators.tcp_proxy import TcpProxy, relaying

from shoal_agent.identity import PAIR, load_identity
from shoal_agent.slots import SlotFile
from shoal_client.fleet import DeviceDetail
from shoal_hub.broker.ports import free_port

HIDDEN = 60_000
WAIT_S = 30.0
SITE = "house"


def large_onnx(seed: int, hidden: int = HIDDEN) -> bytes:
    """Return the tiny classifier by way of a wide layer that adds nothing to it but size."""
    wide = np.random.default_rng(seed).normal(size=(4, hidden)).astype(np.float32)
    wide[:, :3] = WEIGHTS
    back = np.zeros((hidden, 3), dtype=np.float32)
    back[:3] = np.eye(3)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "wide"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "back"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
        ],
        "colours",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
        [
            helper.make_tensor("wide", TensorProto.FLOAT, wide.shape, wide.tobytes(), raw=True),
            helper.make_tensor("back", TensorProto.FLOAT, back.shape, back.tobytes(), raw=True),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def add_large_version(fleet: Fleet, folder: Path, seed: int, hidden: int = HIDDEN) -> int:
    """Register a version of some hundred kilobytes, by default, and compress it."""
    bundle = write_bundle(folder, seed=seed)
    (bundle / "model.onnx").write_bytes(large_onnx(seed, hidden))
    (bundle / "model.keras").write_bytes(keras_archive())
    described = json.loads((bundle / "bundle.json").read_text())
    for name in ("model.onnx", "model.keras"):
        data = (bundle / name).read_bytes()
        described["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (bundle / "bundle.json").write_text(json.dumps(described))
    number = fleet.client.models.register_bundle(bundle).number
    fleet.client.wait_for_job(fleet.client.models.compress(MODEL, number, [TECHNIQUE]).id)
    return number


class House(NamedTuple):
    """The fleet's two devices as a site; the second reaches the broker by way of a relay that counts."""

    fleet: Fleet
    cache: AgentProcess
    member: AgentProcess
    port: int
    broker: TcpProxy

    def place(self, port: int = 0) -> None:
        """Put both on the site, and wait until both have heard of it."""
        ids = {"cache": self.cache.device_id, "members": [self.member.device_id]}
        self.fleet.client.sites.create(SITE, host="127.0.0.1", port=port or self.port, **ids)  # type: ignore[arg-type]
        for agent in (self.cache, self.member):
            self.wait(agent, lambda shown: shown.desired is not None and shown.desired.site == SITE)

    def wait(self, agent: AgentProcess, holds: Callable[[DeviceDetail], bool]) -> None:
        """Wait until the hub shows this of a device, and the device has its newest desired state."""
        deadline_s = time.monotonic() + WAIT_S
        while True:
            shown = self.fleet.client.devices.show(agent.device_id)
            if shown.desired is not None and shown.desired.is_reported and holds(shown):
                return
            assert time.monotonic() < deadline_s, shown
            time.sleep(0.05)

    def roll_out(self, number: int, agent: AgentProcess) -> int:
        """Bring a version to one device; return how many bytes the broker has sent to the member for it."""
        before = self.broker.down_bytes
        rollout = self.fleet.client.rollouts.start(MODEL, number, devices=[agent.device_id])
        self.fleet.watch(rollout.id, "succeeded")
        assert agent.serves(MODEL) == number
        return self.broker.down_bytes - before

    def size_bytes(self, agent: AgentProcess) -> int:
        """Return the size of the file that a device serves."""
        active = SlotFile(agent.data / "models", MODEL).slots.active
        assert active is not None
        return (agent.data / "blobs" / active.file_sha256).stat().st_size

    def answer(self, agent: AgentProcess) -> bytes:
        """Return what the cache answers to whoever has this agent's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(agent.data / "identity" / PAIR)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as raw, context.wrap_socket(raw) as tls:
            tls.sendall(f"GET /artifact/{'0' * 64}/16384/0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return tls.recv(12)


@contextmanager
def with_options(agent: AgentProcess, *options: str) -> Iterator[AgentProcess]:
    """Start a device's agent again with other options."""
    agent.stop()
    again = AgentProcess(agent.data, "--runtime", "onnxruntime", *options)
    again.device_id = agent.device_id
    try:
        yield again.start()
    finally:
        again.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without deltas: what this page counts are whole files."""
    with running_fleet(tmp_path, SHOAL_DELTA_MIN_BYTES=str(2**26)) as running:
        yield running


@pytest.fixture
def house(fleet: Fleet) -> Iterator[House]:
    kitchen, garden = fleet.agents
    port = free_port()
    with relaying(load_identity(garden.data / "identity").broker_port) as broker:
        garden.stop()
        described = garden.data / "identity" / "hub.json"
        described.write_text(json.dumps(json.loads(described.read_text()) | {"broker_port": broker.port}))
        with (
            with_options(kitchen, "--site-host", "127.0.0.1", "--site-port", str(port)) as cache,
            with_options(garden) as member,
        ):
            yield House(fleet, cache, member, port, broker)


@pytest.mark.slow
def test_the_second_device_has_a_version_from_the_first_and_a_revoked_one_is_refused_within_seconds(
    house: House, tmp_path: Path
) -> None:
    first = add_large_version(house.fleet, tmp_path / "one", 0)
    over_the_broker = house.roll_out(first, house.member)
    size_bytes = house.size_bytes(house.member)
    assert over_the_broker > size_bytes, "the control: without a site all of it comes from the broker"

    second = add_large_version(house.fleet, tmp_path / "two", 1)
    house.place()
    house.roll_out(second, house.cache)
    over_the_broker = house.roll_out(second, house.member)
    assert over_the_broker < size_bytes / 5
    assert f"of {house.size_bytes(house.member)} bytes" in house.member.log()
    assert house.answer(house.member) == b"HTTP/1.1 404"

    house.fleet.client.devices.revoke(house.member.device_id)
    started_s = time.monotonic()
    while house.answer(house.member) != b"HTTP/1.1 403":
        assert time.monotonic() - started_s < 5, "a stolen member may ask no longer than it may connect"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_second_device_has_the_version_though_the_first_is_killed_in_the_middle(
    house: House, tmp_path: Path
) -> None:
    number = add_large_version(house.fleet, tmp_path / "one", 0)
    with relaying(house.port, 160 * 1024, house.cache.kill) as lan:
        house.place(lan.port)
        house.roll_out(number, house.cache)
        over_the_broker = house.roll_out(number, house.member)
        assert not house.cache.is_running
        size_bytes = house.size_bytes(house.member)
        assert size_bytes / 5 < over_the_broker < size_bytes, "a part came from the cache, the rest from the broker"
    shown = house.fleet.client.devices.show(house.member.device_id)
    assert shown.reported is not None
    assert shown.reported["sections"]["site"]["state"] == "failed"
