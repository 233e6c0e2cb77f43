"""Clients in one event loop against a real broker, under the agent's link: many, cut off, slow, and without power."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from tests.simulators.broker import Broker, listening, running_broker
from tests.simulators.lan import enrolled

from shoal_agent.clock import Clock
from shoal_agent.identity import load_or_make_key
from shoal_agent.link import Link
from shoal_agent.pairs import Pairs
from shoal_agent.settings import LinkSettings
from shoal_agent.signer import DeviceSigner
from shoal_agent.simulated.network import LoopClient, Network
from shoal_contract import topics
from shoal_hub.mqtt import Message

pytestmark = pytest.mark.anyio
CHUNK = bytes(64 * 1024)
SHA256 = "a" * 64
QUICK = LinkSettings(reconnect_min_s=0.05, reconnect_max_s=0.1)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("hub")) as running:
        with listening(running.endpoint("hub-test")) as hub:
            for index in range(8):
                hub.connection.publish(topics.artifact_chunk(SHA256, index), CHUNK, qos=1, retain=True).result(10)
        yield running


class Simulated:
    """A link over a client of the network."""

    def __init__(self, broker: Broker, folder: Path, network: Network, bytes_per_s: float | None) -> None:
        identity = enrolled(broker.devices, folder / "identity", broker_port=broker.device_port)
        numbers = iter(range(1, 1_000_000))
        signer, pairs = DeviceSigner(load_or_make_key(identity.folder)), Pairs(identity.folder)
        self.device_id = identity.device_id
        self.clients: list[LoopClient] = []

        def make(*arguments: object, **options: object) -> LoopClient:
            self.clients.append(LoopClient(network, bytes_per_s, *arguments, **options))
            return self.clients[-1]

        self.link = Link(identity, pairs, signer, QUICK, lambda: next(numbers), Clock(None), client=make)


@asynccontextmanager
async def connected(
    broker: Broker, folder: Path, count: int = 1, bytes_per_s: float | None = None
) -> AsyncIterator[list[Simulated]]:
    network = Network(handshakes=4)
    devices = [Simulated(broker, folder / f"{index}", network, bytes_per_s) for index in range(count)]

    async def run(device: Simulated) -> None:
        async with device.link.running():
            await device.link.watch()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(network.look_after)
            for device in devices:
                group.start_soon(run, device)
            for device in devices:
                await device.link.wait_connected()
            yield devices
            group.cancel_scope.cancel()


async def read_all(device: Simulated) -> None:
    for index in range(8):
        assert await device.link.read_retained(topics.artifact_chunk(SHA256, index), 10) == CHUNK


async def test_many_clients_receive_and_publish_in_one_thread(broker: Broker, tmp_path: Path) -> None:
    async with connected(broker, tmp_path, 10) as devices, anyio.create_task_group() as group:
        for device in devices:
            group.start_soon(read_all, device)
            group.start_soon(device.link.publish, topics.up(device.device_id, "reported"), CHUNK)
    assert all(device.clients[0].received_bytes >= 8 * len(CHUNK) for device in devices)
    assert all(device.clients[0].sent_bytes >= len(CHUNK) for device in devices)
    assert not any(client.is_driven for device in devices for client in device.clients)


async def test_a_cut_line_ends_the_connection_and_another_comes_after_it(broker: Broker, tmp_path: Path) -> None:
    async with connected(broker, tmp_path) as (device,):
        first, began_s = device.link.connection, time.monotonic()
        device.clients[0].cut_line(0.5)
        await device.link.wait_disconnected()
        assert await device.link.wait_connected() > first
        assert time.monotonic() - began_s >= 0.5
        await read_all(device)


async def test_a_slow_line_carries_what_its_rate_says(broker: Broker, tmp_path: Path) -> None:
    async with connected(broker, tmp_path, bytes_per_s=256_000.0) as (device,):
        began_s = time.monotonic()
        await read_all(device)
        assert time.monotonic() - began_s >= 0.8 * 8 * len(CHUNK) / 256_000, "of two seconds at that rate"


async def test_a_power_cut_leaves_the_farewell_to_the_broker(broker: Broker, tmp_path: Path) -> None:
    async with connected(broker, tmp_path) as (device,):
        topic = topics.up(device.device_id, "presence")
        with listening(broker.endpoint("hub-test"), topic) as hub:
            device.clients[0].unplug()
            will = await anyio.to_thread.run_sync(hub.wait_for, Message)
            will.acknowledge()
            assert (will.topic, device.clients[0].is_driven) == (topic, False)
