"""A device behind 64 kbit/s with 5 % loss: what was fetched is not fetched again, and a rollback does not wait for it.

Hub and broker are on this machine; the agent runs in a network namespace behind the link.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.flows.conftest import MODEL, Fleet
from tests.hub.registry.bundles import replace_model, wide_onnx, write_bundle
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Listening, listening
from tests.simulators.hub_process import HubProcess
from tests.simulators.slow_link import SlowLink, ip, slow_link, within

from shoal_agent.enrol import enrol
from shoal_contract.limits import DEFAULT_CHUNK_BYTES
from shoal_hub.addresses import Addresses
from shoal_hub.mqtt import Message
from shoal_hub.settings import Settings

RATE_KBIT_PER_S, LOSS_RATIO = 64, 0.05
ROLLBACK_S = 60.0
WAIT_S = 180.0
UNCHANGED_S = 15.0
"""The broker counts every ten seconds."""
SILENCE_S = 5.0
THREE_CHUNKS, OVER_A_MEBIBYTE = 30_000, 100_000
"""Widths of the model's layer: 384 KiB and 1.3 MB in int8."""
SUBSCRIPTIONS = "$SYS/broker/subscriptions/count"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400, method="signal")]  # cleans up, too


class SlowAgent(AgentProcess):
    """An agent behind the link; its endpoint is on its own loopback."""

    def __init__(self, link: SlowLink, data: Path) -> None:
        super().__init__(data, "--runtime", "onnxruntime", within=within(link.device))
        self._link = link

    def ask(self, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        with self._link.visited():
            return super().ask(path, body, headers)


class Setting(NamedTuple):
    """One hub, and one agent behind the link."""

    fleet: Fleet
    link: SlowLink
    agent: SlowAgent
    folder: Path

    def add_version(self, seed: int, width: int = THREE_CHUNKS) -> int:
        """Register a version, of three chunks where nothing else is said: a minute's worth of this link."""
        bundle = write_bundle(self.folder / f"bundle-{seed}", seed=seed)
        replace_model(bundle, wide_onnx(seed, width))
        return self.fleet.register(bundle)

    def parts(self) -> list[bytes]:
        """Return what there is of each chunk of the transfers that are under way."""
        size = DEFAULT_CHUNK_BYTES
        contents = [path.read_bytes() for path in (self.agent.data / "blobs").glob("*.part")]
        return [content[at : at + size] for content in contents for at in range(0, len(content), size)]

    def chunks_held(self) -> int:
        return sum(any(part) for part in self.parts())


def wait_until(holds: Callable[[], bool], what: str, agent: AgentProcess, timeout_s: float = WAIT_S) -> float:
    """Wait until it holds; return for how long, in seconds."""
    tick, started_s = threading.Event(), time.monotonic()
    while not holds():
        assert time.monotonic() - started_s < timeout_s, f"waited in vain until {what}: {agent.log()[-3000:]}"
        tick.wait(0.2)
    return time.monotonic() - started_s


def wait_for_silence(link: SlowLink) -> None:
    """Wait until less than a tenth of what the link could carry comes through: heartbeats, and no chunk."""
    tick, deadline_s, before_bytes = threading.Event(), time.monotonic() + WAIT_S, link.received_bytes()
    while not tick.wait(SILENCE_S):
        now_bytes = link.received_bytes()
        if now_bytes - before_bytes < RATE_KBIT_PER_S * 125 * SILENCE_S / 10:
            return
        assert time.monotonic() < deadline_s, f"{now_bytes - before_bytes} bytes came in {SILENCE_S} s"
        before_bytes = now_bytes


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """A device that serves version 1, got at full speed; from then on its link is slow."""
    folder = tmp_path_factory.mktemp("slow-link")
    with slow_link() as link:
        addresses = dict.fromkeys(("SHOAL_PUBLIC_HOST", "SHOAL_API_HOST", "SHOAL_BROKER_HOST"), link.hub_host)
        hub = HubProcess(folder / "hub", SHOAL_DELTA_MIN_BYTES=str(2**30), **addresses)
        agent = SlowAgent(link, folder / "kitchen")
        try:
            hub.start()
            with hub.client() as client:
                token = client.tokens.create().token
                agent.device_id = enrol(agent.data / "identity", hub.url, token, "kitchen").device_id
                fleet = Fleet(hub, client, [agent.start()])
                first = fleet.add_version(folder / "first", seed=0)
                wait_until(lambda: bool(client.devices.list()[0].targets), "it has reported", agent)
                fleet.watch(client.rollouts.start(MODEL, first).id, "succeeded")
                link.shape(RATE_KBIT_PER_S, LOSS_RATIO)
                yield Setting(fleet, link, agent, folder)
        finally:
            agent.close()
            hub.close()


class Subscriptions:
    """How many subscriptions the broker holds: told every ten seconds, if they have changed, and forgotten after sixty.

    Whoever wants to know listens from the beginning, therefore.
    """

    def __init__(self, broker: Listening) -> None:
        self._broker = broker
        self._counted: list[int] = []

    def settle(self) -> int:
        """Return their number once it has not changed for longer than it takes to count."""
        while self.hear(UNCHANGED_S):
            pass
        return self._counted[-1]

    def wait_for(self, wanted: int, agent: AgentProcess) -> None:
        """Wait until they are so many: they are fewer for a while where the agent has to connect again."""
        deadline_s, first = time.monotonic() + WAIT_S, len(self._counted)
        while self._counted[-1] != wanted:
            if not self.hear(deadline_s - time.monotonic()):
                counted = self._counted[first:]
                pytest.fail(f"{wanted} subscriptions expected; the broker counted {counted}: {agent.log()[-3000:]}")

    def hear(self, timeout_s: float) -> bool:
        """Wait for the next count; return whether one came."""
        try:
            self._counted.append(int(self._broker.wait_for(Message, max(0.0, timeout_s)).payload))
        except queue.Empty:
            return False
        return True


@pytest.fixture(scope="module")
def subscriptions(setting: Setting) -> Iterator[Subscriptions]:
    settings = Settings(data_dir=setting.fleet.hub.data)
    addresses = Addresses.read(settings)
    with listening(addresses.endpoint(settings, "hub-eye"), SUBSCRIPTIONS) as ears:
        found = Subscriptions(ears)
        if not found.hear(UNCHANGED_S):  # one ended as this one began
            with listening(addresses.endpoint(settings, "hub-other"), SUBSCRIPTIONS):
                assert found.hear(UNCHANGED_S)
        yield found


def test_a_transfer_that_a_restart_interrupts_goes_on_with_the_chunks_that_are_missing(setting: Setting) -> None:
    fleet, link, agent = setting.fleet, setting.link, setting.agent
    number, before_bytes = setting.add_version(seed=1), link.received_bytes()
    rollout = fleet.client.rollouts.start(MODEL, number)
    wait_until(lambda: setting.chunks_held() == 2, "two chunks of three are there", agent)
    agent.kill()
    held = [part for part in setting.parts() if any(part)]
    used_bytes = link.received_bytes() - before_bytes

    agent.start()

    assert agent.serves(MODEL) == 1
    fleet.watch(rollout.id, "succeeded")
    assert agent.serves(MODEL) == number
    size_bytes = fleet.client.rollouts.show(rollout.id).deployments[0].whole_bytes or 0
    rest_bytes = link.received_bytes() - before_bytes - used_bytes
    assert len(held) == 2
    assert size_bytes > 2.9 * DEFAULT_CHUNK_BYTES
    assert rest_bytes < 2 * DEFAULT_CHUNK_BYTES, f"{rest_bytes} bytes came after the restart, for one missing chunk"
    assert link.dropped_packets() > 0


@pytest.mark.parametrize(("seed", "width"), [(2, THREE_CHUNKS), (3, OVER_A_MEBIBYTE)], ids=["384 KiB", "1.3 MB"])
def test_a_rollback_in_the_middle_of_a_transfer_acts_within_a_minute_and_ends_the_transfer(
    setting: Setting, subscriptions: Subscriptions, seed: int, width: int
) -> None:
    fleet, link, agent = setting.fleet, setting.link, setting.agent
    serving, number = agent.serves(MODEL), setting.add_version(seed, width)
    before = subscriptions.settle()
    rollout = fleet.client.rollouts.start(MODEL, number)
    wait_until(lambda: setting.chunks_held() == 1, "one chunk is there", agent)

    started_s = time.monotonic()
    fleet.client.rollouts.roll_back(rollout.id)
    fleet.watch(rollout.id, "rolled_back")
    took_s = time.monotonic() - started_s

    logging.getLogger(__name__).info("the rollback acted after %.1f s", took_s)
    assert took_s <= ROLLBACK_S
    size_bytes = fleet.client.rollouts.show(rollout.id).deployments[0].whole_bytes or 0
    assert (size_bytes > 2**20) == (width == OVER_A_MEBIBYTE)
    assert agent.serves(MODEL) == serving
    assert setting.chunks_held() < 3
    subscriptions.wait_for(before, agent)  # no chunk is subscribed to any more
    wait_for_silence(link)


def test_a_test_that_fails_leaves_no_namespace_behind() -> None:
    def fail_inside(links: list[SlowLink]) -> None:
        with slow_link() as link:
            link.shape(RATE_KBIT_PER_S, LOSS_RATIO)
            links.append(link)
            raise RuntimeError("the test fails")

    made: list[SlowLink] = []
    with pytest.raises(RuntimeError, match="the test fails"):
        fail_inside(made)
    assert made[0].air not in ip("netns", "list")
    assert made[0].device not in ip("netns", "list")
