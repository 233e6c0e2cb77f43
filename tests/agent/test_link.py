"""The one face over MQTT on a real broker: what holds across reconnections, silence, floods and a dead thread."""

import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.quick_agent import settings

import shoal_agent.link
import shoal_agent.link_patience
from shoal_agent.clock import Clock
from shoal_agent.errors import FetchError, LinkError
from shoal_agent.identity import load_identity, load_key, load_or_make_key, make_signing_request, read_certificate
from shoal_agent.link import Link
from shoal_agent.pairs import Pairs
from shoal_agent.signer import DeviceSigner
from shoal_contract import topics
from shoal_contract.device_signature import device_key_id, verify_up
from shoal_hub.mqtt import Message
from shoal_hub.trust.ca import DeviceAuthority

pytestmark = pytest.mark.anyio
BOUNDS = settings(Path("unused")).link


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def hub(broker: Broker) -> Iterator[HubStandIn]:
    with hub_of_one(broker) as stand_in:
        yield stand_in


@asynccontextmanager
async def linked(hub: HubStandIn, folder: Path, *, is_connected: bool = True) -> AsyncIterator[Link]:
    hub.enrol(folder / "identity")
    numbers = itertools.count(1)
    link = Link(
        load_identity(folder / "identity"),
        Pairs(folder / "identity"),
        signer_of(folder),
        replace(BOUNDS, inbox_messages=4),
        lambda: next(numbers),
        Clock(None),
    )
    async with link.running():
        if is_connected:
            with anyio.fail_after(10):
                await link.wait_connected()
        yield link


def signer_of(folder: Path) -> DeviceSigner:
    return DeviceSigner(load_or_make_key(folder / "identity"))


def next_pair(folder: Path, device_id: str, authority: DeviceAuthority) -> str:
    """Stage a pair as a renewal does; return its serial."""
    pairs = Pairs(folder / "identity")
    key = pairs.next_key()
    csr = x509.load_pem_x509_csr(make_signing_request(key).encode())
    certificate = authority.issue(csr, device_id)
    pairs.stage(key, certificate.public_bytes(Encoding.PEM).decode())
    return f"{certificate.serial_number:x}"


async def said(hub: HubStandIn, link: Link, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Have the device say something; return it as the hub hears it of a device that has this key alone."""
    await link.say("telemetry", b"{}")
    message = await anyio.to_thread.run_sync(hub.ears.wait_for, Message)
    return verify_up(message.payload, "telemetry", {device_key_id(key.public_key()): key.public_key()}).payload


async def test_the_link_comes_back_at_once_with_the_renewed_pair_and_without_a_farewell(
    hub: HubStandIn, tmp_path: Path
) -> None:
    async with linked(hub, tmp_path) as link, anyio.create_task_group() as group:
        group.start_soon(link.watch)
        before = link.connection
        serial = next_pair(tmp_path, hub.device_id, hub.broker.devices)
        with anyio.fail_after(10):
            await link.reconnect()
            assert await link.wait_connected() > before
        assert read_certificate(tmp_path / "identity" / "device.pem").serial == serial
        key = load_key(tmp_path / "identity" / "device.pem")
        assert await said(hub, link, key) == b"{}", "and what it says is signed by the renewed key"
        group.cancel_scope.cancel()
    assert [one.state for one in hub.presences] == []


async def test_a_broker_that_refuses_the_renewed_pair_is_shown_the_old_one_again(
    hub: HubStandIn, tmp_path: Path
) -> None:
    async with linked(hub, tmp_path) as link:
        before = read_certificate(tmp_path / "identity" / "device.pem").serial
        next_pair(tmp_path, hub.device_id, DeviceAuthority.open(tmp_path / "foreign"))
        with anyio.fail_after(20):
            await link.reconnect()
            await link.wait_connected()
            key = load_key(tmp_path / "identity" / "device.pem")
            assert await said(hub, link, key) == b"{}", "and what it says is signed by the old key"
    assert read_certificate(tmp_path / "identity" / "device.pem").serial == before
    assert not (tmp_path / "identity" / "next.pem").exists()


def desired_topic(hub: HubStandIn) -> str:
    return topics.down_desired(hub.device_id)


async def test_a_retained_message_is_read_and_a_silent_topic_is_an_error(hub: HubStandIn, tmp_path: Path) -> None:
    hub.publish(desired_topic(hub), b"wish")
    async with linked(hub, tmp_path) as link:
        assert await link.read_retained(desired_topic(hub), 5.0) == b"wish"
        with pytest.raises(FetchError, match=r"silent for 0\.3 s"):
            await link.read_retained(topics.down_ack(hub.device_id), 0.3)


async def test_what_stalls_for_longer_than_a_topic_may_be_silent_is_waited_for_and_asked_for_once(
    hub: HubStandIn, tmp_path: Path
) -> None:
    hub.publish(desired_topic(hub), b"wish")
    asked: list[str] = []
    pid = hub.broker.process.pid or 0
    async with linked(hub, tmp_path) as link, anyio.create_task_group() as group:
        link.on_passage = lambda what, topic, *_: asked.append(f"{what} {topic}")
        os.kill(pid, signal.SIGSTOP)  # every connection lives, and nothing comes

        async def go_on_late() -> None:
            await anyio.sleep(1.2)
            os.kill(pid, signal.SIGCONT)

        group.start_soon(go_on_late)
        try:
            with anyio.fail_after(20):
                assert await link.read_retained(desired_topic(hub), 0.3) == b"wish"
        finally:
            os.kill(pid, signal.SIGCONT)
    assert asked.count(f"subscribe {desired_topic(hub)}") == 1
    assert asked.count(f"unsubscribe {desired_topic(hub)}/none") == 1


async def chatter(tell: Callable[[], Awaitable[None]]) -> None:
    while True:
        await tell()
        await anyio.sleep(0.05)


async def test_a_silent_topic_is_noticed_though_other_messages_arrive_all_the_time(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shoal_agent.link_patience, "_PATIENCE", 3)
    async with linked(hub, tmp_path) as link, link.subscription(desired_topic(hub)), anyio.create_task_group() as group:
        group.start_soon(chatter, partial(anyio.to_thread.run_sync, hub.publish, desired_topic(hub), b"x"))
        with anyio.fail_after(5), pytest.raises(FetchError, match="silent"):
            await link.read_retained(topics.down_ack(hub.device_id), 0.3)
        group.cancel_scope.cancel()


async def test_a_topic_is_silent_where_the_broker_answers_what_was_sent_long_after_the_question(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shoal_agent.link_patience, "_PATIENCE", 10_000)
    async with linked(hub, tmp_path) as link, anyio.create_task_group() as group:
        group.start_soon(chatter, partial(link.publish, topics.up(hub.device_id, "telemetry"), b"x"))
        with anyio.fail_after(5), pytest.raises(FetchError, match="silent"):
            await link.read_retained(topics.down_ack(hub.device_id), 0.3)
        group.cancel_scope.cancel()


async def test_a_subscription_lives_through_a_reconnection_with_a_new_number(hub: HubStandIn, tmp_path: Path) -> None:
    async with linked(hub, tmp_path) as link, link.subscription(desired_topic(hub)) as messages:
        assert link.connection == 1
        os.kill(hub.broker.process.pid or 0, signal.SIGKILL)
        with anyio.fail_after(10):
            await link.wait_disconnected()
        assert not link.is_connected
        with anyio.fail_after(10):
            while hub.broker.process.pid is not None:  # noqa: ASYNC110 - another process's end sets no event
                await anyio.sleep(0.01)
        with pytest.raises(LinkError):
            await link.publish(topics.up(hub.device_id, "event"), b"x")
        with pytest.raises(LinkError):
            await link.read_retained(topics.down_ack(hub.device_id), 0.05)

        await anyio.to_thread.run_sync(hub.broker.process.ensure)
        with anyio.fail_after(10):
            assert await link.wait_connected() > 1
        await anyio.to_thread.run_sync(hub.wait_connected)
        await anyio.to_thread.run_sync(hub.publish, desired_topic(hub), b"news")
        with anyio.fail_after(10):
            assert await messages.receive() == b"news"


async def test_the_oldest_message_gives_way_when_nobody_reads(
    hub: HubStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(hub, tmp_path) as link, link.subscription(desired_topic(hub)) as messages:
        for number in range(7):
            link._inboxes._deliver(desired_topic(hub), b"%d" % number)
        held = [messages.receive_nowait() for _ in range(messages.statistics().current_buffer_used)]
    assert held == [b"3", b"4", b"5", b"6"]
    assert "the oldest is dropped" in caplog.text


async def test_a_publication_that_nobody_confirms_is_an_error(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked(hub, tmp_path) as link:
        monkeypatch.setattr(link, "_confirm", lambda *_: None)
        link._settings = replace(BOUNDS, confirm_timeout_s=0.1)
        with pytest.raises(LinkError, match="no confirmation within"):
            await link.publish(topics.up(hub.device_id, "event"), b"x")
        assert link._confirmations == {}


async def test_a_broker_that_confirms_nothing_does_not_fill_the_memory(hub: HubStandIn, tmp_path: Path) -> None:
    pid = hub.broker.process.pid or 0
    async with linked(hub, tmp_path) as link:
        link._settings = replace(BOUNDS, confirm_timeout_s=0.01)
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(BOUNDS.unconfirmed_messages):
                with pytest.raises(LinkError, match="no confirmation within"):
                    await link.publish(topics.up(hub.device_id, "event"), b"x")
            with pytest.raises(LinkError, match="wait for the broker's confirmation"):
                await link.publish(topics.up(hub.device_id, "event"), b"x")
        finally:
            os.kill(pid, signal.SIGCONT)
        link._settings = BOUNDS
        with anyio.fail_after(10):
            await _publish_at_last(link, topics.up(hub.device_id, "event"))


async def _publish_at_last(link: Link, topic: str) -> None:
    while True:
        try:
            return await link.publish(topic, b"x")
        except LinkError:
            await anyio.sleep(0.05)


async def test_a_dead_network_thread_ends_the_agent_instead_of_looking_connected(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shoal_agent.link, "_WATCH_S", 0.05)
    async with linked(hub, tmp_path) as link:
        with monkeypatch.context() as gone:
            gone.setattr(threading, "enumerate", lambda: [threading.main_thread()])
            with anyio.fail_after(5), pytest.raises(LinkError, match="it has ended") as ended:
                await link.watch()
        assert "restart the agent" in ended.value.remedy


async def test_an_error_in_a_callback_ends_the_agent_instead_of_the_network_thread(
    hub: HubStandIn, tmp_path: Path
) -> None:
    async with linked(hub, tmp_path) as link:

        def defect(*_: object) -> None:
            raise ZeroDivisionError

        link._client.on_message = link._guard(defect)
        async with link.subscription(desired_topic(hub)):
            await anyio.to_thread.run_sync(hub.publish, desired_topic(hub), b"wish")
            with anyio.fail_after(5), pytest.raises(LinkError, match="ZeroDivisionError"):
                await link.watch()
        assert link.is_connected


async def test_it_stops_in_a_moment_though_no_broker_answers(hub: HubStandIn, tmp_path: Path) -> None:
    hub.enrol(tmp_path / "identity")
    identity = replace(load_identity(tmp_path / "identity"), broker_port=1)
    link = Link(identity, Pairs(identity.folder), signer_of(tmp_path), BOUNDS, itertools.count(1).__next__, Clock(None))
    with anyio.fail_after(5):
        async with link.running():
            with pytest.raises(LinkError):
                await link.publish(topics.up(hub.device_id, "event"), b"x")
            await anyio.sleep(0.3)


async def test_desired_state_can_spread_the_reconnections_of_a_fleet(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked(hub, tmp_path) as link:
        delays: list[float] = []
        monkeypatch.setattr(link._client, "reconnect_delay_set", lambda low, _high: delays.append(low))
        link._jitter = lambda: 0.5
        for jitter_s in (0.0, 100.0):
            link.reconnect_jitter_s = jitter_s
            link._attempts = 0
            await anyio.to_thread.run_sync(link._back_off, "test")
        assert delays[1] - delays[0] == pytest.approx(50.0)
