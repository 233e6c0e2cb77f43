"""What the ledger counts for each message, held against what really passes between the link and a broker."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.director import ref_of
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.quick_agent import settings
from tests.simulators.tcp_proxy import relaying

from shoal_agent.blobs import BlobStore
from shoal_agent.clock import Clock
from shoal_agent.fetch import Fetcher
from shoal_agent.identity import load_identity, load_or_make_key
from shoal_agent.ledger.link_meter import CONNECTING, Passage, category_of, cost_of
from shoal_agent.link import Link
from shoal_agent.pairs import Pairs
from shoal_agent.settings import FetchSettings
from shoal_agent.signer import DeviceSigner
from shoal_contract import topics
from shoal_contract.ledger import Traffic
from shoal_contract.transfer import describe
from shoal_contract.wire_bytes import (
    artifact_cost,
    on_wire,
    puback_bytes,
    publish_bytes,
    suback_bytes,
    subscribe_bytes,
    tls_bytes,
)

pytestmark = pytest.mark.anyio
ARTIFACT = bytes(range(256)) * 4096  # 1 MiB
FAREWELL_BYTES = 2 * tls_bytes(2)
"""DISCONNECT, and the alert that ends TLS."""
Passed = tuple[Passage, str, int, int]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def hub(broker: Broker) -> Iterator[HubStandIn]:
    with hub_of_one(broker) as stand_in:
        yield stand_in


async def _nothing(_sha256: str, _detail: str) -> None:
    raise AssertionError("nothing is missing")


def _up_and_down(passed: list[Passed]) -> tuple[int, int]:
    """Return the TLS bytes that these passages take, up and down, by the formulas of the ledger."""
    up = down = 0
    for passage, topic, payload_bytes, qos in passed:
        packet = publish_bytes(topic, payload_bytes, qos)
        match passage:
            case "publish":
                up, down = up + tls_bytes(packet), down + tls_bytes(puback_bytes())
            case "receive":
                down += tls_bytes(packet)
                up += tls_bytes(puback_bytes()) if qos else 0
            case "subscribe" | "unsubscribe":
                up += tls_bytes(subscribe_bytes(topic, is_ending=passage == "unsubscribe"))
                down += tls_bytes(suback_bytes())
    return up, down


async def test_the_ledger_s_formulas_are_what_really_passes_between_a_device_and_its_broker(
    hub: HubStandIn, tmp_path: Path
) -> None:
    hub.publish_artifact(ARTIFACT, chunk_bytes=128 * 1024)
    passed: list[Passed] = []
    with relaying(hub.broker.device_port) as relay:
        hub.enrol(tmp_path / "identity", broker_port=relay.port)
        identity, bounds = load_identity(tmp_path / "identity"), settings(tmp_path)
        signer, numbers = DeviceSigner(load_or_make_key(tmp_path / "identity")), itertools.count(1)
        link = Link(identity, Pairs(identity.folder), signer, bounds.link, numbers.__next__, Clock(None))
        link.on_passage = lambda *passage: passed.append(passage)
        async with link.running():
            with anyio.fail_after(10):
                await link.wait_connected()
            await link.say("telemetry", b"x")  # the handshake's last messages have come before its answer
            before = relay.up_bytes, relay.down_bytes
            passed_before = len(passed)
            await Fetcher(link, BlobStore(tmp_path / "blobs"), _nothing, FetchSettings()).fetch(ref_of(ARTIFACT))
            await link.say("telemetry", bytes(1000))
    up, down = _up_and_down(passed[passed_before:])
    assert down == pytest.approx(relay.down_bytes - before[1], rel=0.002)
    # Never less than what passes, but for the farewell. Topics asked for at once share a packet, and packets written at
    # once a record, which spares 27 bytes each at most: counted apart, they are the 13 % between the two bounds here.
    assert 0.86 * up < relay.up_bytes - before[0] <= up + FAREWELL_BYTES
    say_up, say_down = _up_and_down(passed[1:passed_before])
    connecting = before[0] - say_up, before[1] - say_down
    assert 0.5 * CONNECTING.sent_bytes < connecting[0] <= CONNECTING.sent_bytes
    assert 0.3 * CONNECTING.received_bytes < connecting[1] <= CONNECTING.received_bytes


@pytest.mark.parametrize("size_bytes", [1, 128 * 1024, 1_000_001])
def test_what_the_hub_forecasts_of_a_transfer_is_what_the_device_counts(size_bytes: int) -> None:
    manifest = describe(bytes(size_bytes), 128 * 1024)
    counted, topic = Traffic(), topics.artifact_manifest(manifest.sha256)
    parts = [(topic, len(manifest.to_bytes()))]
    parts += [
        (topics.artifact_chunk(manifest.sha256, index), manifest.size_of(index))
        for index in range(len(manifest.chunks))
    ]
    for topic, payload_bytes in parts:
        for passage in ("subscribe", "receive", "unsubscribe"):
            counted = counted.plus(cost_of(passage, topic, payload_bytes, 0))
    forecast = artifact_cost(manifest.sha256, size_bytes, 128 * 1024)
    assert forecast.received_bytes == pytest.approx(counted.received_bytes, rel=0.001, abs=16)
    assert forecast.sent_bytes == counted.sent_bytes


def test_a_chunk_costs_its_bytes_and_less_than_five_percent_beside_them() -> None:
    cost = cost_of("receive", topics.artifact_chunk("a" * 64, 0), 128 * 1024, 0)
    assert 128 * 1024 < cost.received_bytes < 1.05 * 128 * 1024
    assert 0 < cost.sent_bytes < 0.03 * 128 * 1024


def test_an_answer_is_counted_in_the_other_direction() -> None:
    topic = topics.up("d-abcdefgh234567ab", "event")
    said, heard = cost_of("publish", topic, 100, 1), cost_of("receive", topic, 100, 1)
    assert (said.received_bytes, said.sent_bytes) == (heard.sent_bytes, heard.received_bytes)
    without = cost_of("receive", topic, 100, 0)
    assert heard.sent_bytes - without.sent_bytes == on_wire(puback_bytes()).forward_bytes


def test_each_topic_has_its_category() -> None:
    device = "d-abcdefgh234567ab"
    assert category_of(topics.artifact_manifest("a" * 64)) == "artifacts_broker"
    assert category_of(topics.up(device, "telemetry")) == "telemetry"
    assert category_of(topics.up_blob(device, "a" * 64, 0)) == "federated"
    assert category_of(topics.up_blob(device, "a" * 64, 0), {"a" * 64: "captures"}.__getitem__) == "captures"
    for topic in (topics.up(device, "event"), topics.down_desired(device), topics.TRUST_TIMESTAMP, ""):
        assert category_of(topic) == "control"
    assert cost_of("connect", "", 0, 0) == CONNECTING == Traffic(received_bytes=4000, sent_bytes=4000)
