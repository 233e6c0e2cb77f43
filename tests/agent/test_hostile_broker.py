"""A broker that was taken over and breaks the protocol: the device hangs up, keeps its memory, and never ends by it."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.agent.simulators.hostile_broker import hostile_broker
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import hub_of_one
from tests.simulators.quick_agent import settings

from shoal_agent.clock import Clock
from shoal_agent.identity import load_identity, load_or_make_key
from shoal_agent.link import Link
from shoal_agent.pairs import Pairs
from shoal_agent.signer import DeviceSigner

BOUNDS = settings(Path("unused")).link
LARGEST = bytes([0xFF, 0xFF, 0xFF, 0x7F])
"""The longest packet that MQTT can announce, 256 MiB."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def link_to(broker: Broker, folder: Path, port: int) -> Link:
    with hub_of_one(broker) as hub:
        hub.enrol(folder / "identity")
    identity = replace(load_identity(folder / "identity"), broker_port=port)
    signer = DeviceSigner(load_or_make_key(folder / "identity"))
    return Link(identity, Pairs(identity.folder), signer, BOUNDS, itertools.count(1).__next__, Clock(None))


HOSTILE = {
    "a topic that is no text": bytes([0x30, 6, 0, 2, 0xFF, 0xFE, 0, 0x58]),
    "a topic longer than its message": bytes([0x30, 4, 0xFF, 0xFF, 0, 0]),
    "properties that end too late": bytes([0x30, 6, 0, 1, 0x61, 0x7F, 0x26, 0]),
    "a confirmation that is cut off": bytes([0x40, 1, 0]),
    "a confirmation for an unknown reason": bytes([0x40, 4, 0, 1, 0xEE, 0]),
    "a subscription's answer that is cut off": bytes([0x90, 1, 0]),
    "a farewell for an unknown reason": bytes([0xE0, 2, 0xEE, 0]),
    "a second acceptance with an unknown reason": bytes([0x20, 3, 0, 0xEE, 0]),
    "a message of a service nobody asked for": bytes([0x34, 7, 0, 1, 0x61, 0, 1, 0, 0x58]),
    "a length of five bytes": bytes([0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
    "an unknown command": bytes([0x00, 0]),
    "a packet larger than any": bytes([0x30]) + LARGEST + b"\0" * 100_000,
}


def test_an_agent_serves_on_while_a_broker_that_was_taken_over_breaks_the_protocol(
    broker: Broker, tmp_path: Path
) -> None:
    agent = AgentProcess(tmp_path / "device", is_quick=True)
    with hub_of_one(broker) as hub, hostile_broker(broker.devices, next(iter(HOSTILE.values()))) as hostile:
        hub.enrol(agent.data / "identity", broker_port=hostile.port)
        agent.start()
        pid = agent.process and agent.process.pid
        try:
            for answer in HOSTILE.values():
                hostile.answer = answer
                assert hostile.hung_up.acquire(timeout=10)
            assert agent.ask("/v2/health/live")[0] == 200
            assert (agent.is_running, agent.process and agent.process.pid) == (True, pid)
            assert "Traceback" not in agent.log()
        finally:
            agent.close()


@pytest.mark.anyio
@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_device_hangs_up_on_a_broker_that_breaks_the_protocol_and_comes_back(
    broker: Broker, tmp_path: Path, answer: bytes
) -> None:
    with hostile_broker(broker.devices, answer) as hostile:
        link = link_to(broker, tmp_path, hostile.port)
        async with link.running(), anyio.create_task_group() as group:
            group.start_soon(link.watch)  # raises if paho's thread ends, or one of its callbacks fails
            with anyio.fail_after(10):
                for _ in range(2):
                    await anyio.to_thread.run_sync(hostile.hung_up.acquire, abandon_on_cancel=True)
            group.cancel_scope.cancel()
    assert hostile.connections >= 2


@pytest.mark.anyio
async def test_of_a_flood_of_messages_no_more_wait_for_the_agent_than_its_bound(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flood = bytes([0x30, 5, 0, 1, 0x61, 0, 0x58]) * 5000
    with hostile_broker(broker.devices, flood) as hostile:
        link = link_to(broker, tmp_path, hostile.port)
        async with link.running(), link.subscription("a"):
            with anyio.fail_after(10):
                await link.wait_connected()
            deadline_s = time.monotonic() + 10
            while "are dropped" not in caplog.text:  # the event loop stands still meanwhile, as at a slow disk
                assert time.monotonic() < deadline_s
                time.sleep(0.01)  # noqa: ASYNC251 - so it must
            assert link._inboxes._handed_over - link._inboxes._delivered <= BOUNDS.inbox_messages
    assert caplog.text.count("are dropped") < 100
