"""The will on a real broker: told at once, and no end of a connection brings the broker down.

Mosquitto 2.0.11 frees a client that waits for a delayed will when it reads its rules again (SIGHUP), as it does at each
revocation, and goes on using it: ADR 21.
"""

import itertools
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.quick_agent import settings

from shoal_agent.clock import Clock
from shoal_agent.identity import load_identity, load_or_make_key
from shoal_agent.link import Link
from shoal_agent.pairs import Pairs
from shoal_agent.signer import DeviceSigner
from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_contract.reported import CONNECTION_LOST

pytestmark = pytest.mark.anyio
BOUNDS = settings(Path("unused")).link
DEVICES = 6
ROUNDS = 30
AT_REST_S = 2.5
"""Longer than a will that is delayed by a second takes at the broker."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def hub(broker: Broker) -> Iterator[HubStandIn]:
    with hub_of_one(broker) as stand_in:
        yield stand_in


def make_link(identity_dir: Path, numbers: Iterator[int]) -> Link:
    signer = DeviceSigner(load_or_make_key(identity_dir))
    identity, pairs = load_identity(identity_dir), Pairs(identity_dir)
    return Link(identity, pairs, signer, BOUNDS, lambda: next(numbers), Clock(None))


@asynccontextmanager
async def connected(link: Link) -> AsyncIterator[Link]:
    async with link.running():
        with anyio.fail_after(10):
            await link.wait_connected()
        yield link


def cut(link: Link) -> None:
    """End the connection without a word, as a cut line or a killed agent does; nothing, where it has just ended."""
    connection = link._client.socket()
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


async def test_a_lost_connection_is_told_at_once_though_the_device_comes_back_and_the_broker_reads_its_rules_again(
    hub: HubStandIn, tmp_path: Path
) -> None:
    hub.enrol(tmp_path / "identity")
    async with connected(make_link(tmp_path / "identity", itertools.count(1))) as link:
        cut(link)
        hub.broker.access.reload()
        with anyio.fail_after(10):
            await link.wait_disconnected()
            assert await link.wait_connected() == 2
        began_s = time.monotonic()
        await anyio.to_thread.run_sync(hub.wait_until, lambda seen: seen.presences)
        assert time.monotonic() - began_s < 5
        told = hub.presences[-1]
        assert (told.state, told.reason, told.connection) == ("offline", CONNECTION_LOST, 1)


class Device:
    """One identity, and the agents that use it: a second one takes the connection over, and is taken over in turn."""

    def __init__(self, hub: HubStandIn, folder: Path) -> None:
        HubStandIn(hub.broker, hub.ears, new_device_id()).enrol(folder)
        self._folder = folder
        self._numbers = itertools.count(1)
        self._links = AsyncExitStack()
        self.link: Link | None = None

    @property
    def ways(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What may happen to its connection next."""
        if self.link is None:
            return (self.connect,)
        return self.cut, self.take_over, self.move, self.leave

    async def connect(self) -> None:
        self.link = await self._links.enter_async_context(connected(make_link(self._folder, self._numbers)))

    async def cut(self) -> None:
        if self.link is not None:
            cut(self.link)

    async def take_over(self) -> None:
        """Let another agent have the identity for a moment, as a copy of the disk would."""
        async with connected(make_link(self._folder, self._numbers)):
            await anyio.lowlevel.checkpoint()

    async def move(self) -> None:
        if self.link is not None:
            await self.link.reconnect()

    async def leave(self) -> None:
        self.link = None
        await self._links.aclose()


@contextmanager
def same_process(broker: Broker) -> Iterator[None]:
    """Hold the block against a broker that ends, and one that was started again."""
    before = broker.process.pid
    yield
    assert before is not None
    assert broker.process.pid == before, "the broker has crashed"


@pytest.mark.slow
async def test_no_order_of_cuts_takeovers_moves_and_reloads_ends_the_broker(hub: HubStandIn, tmp_path: Path) -> None:
    chance = random.Random(20261128)  # noqa: S311 - repeatable
    devices = [Device(hub, tmp_path / f"identity-{number}") for number in range(DEVICES)]
    async with AsyncExitStack() as stack:
        for device in devices:
            stack.push_async_callback(device.leave)
        with same_process(hub.broker):
            for number in range(ROUNDS):
                for device in chance.sample(devices, DEVICES):
                    await chance.choice(device.ways)()
                if number % 3 == 0:
                    hub.broker.access.reload()
                if number % 10 == 9:
                    await anyio.sleep(AT_REST_S)
                assert hub.broker.process.pid is not None, f"the broker has crashed in round {number}"
            hub.publish(topics.down_ack(hub.device_id), b"it still answers", retain=False)
