"""Real agents on one LAN, over a real broker: who serves, who is served, and what a cache that lies comes to."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from tests.agent.simulators.false_cache import FalseCache, says
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Broker, running_broker
from tests.simulators.hub import HubStandIn, hub_of_one
from tests.simulators.lan import enrolled
from tests.simulators.tiny_model import TinyVersion

from shoal_agent.identity import PAIR
from shoal_contract.desired import DesiredConfig, DesiredSite
from shoal_contract.ids import new_device_id
from shoal_hub.broker.ports import free_port

NO_WAIT = DesiredConfig(reconnect_jitter_s=0)
OF_THE_CACHE = "came from the site's cache"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running_broker(tmp_path / "hub") as running:
        yield running


@contextmanager
def device(broker: Broker, folder: Path, *options: str) -> Iterator[tuple[HubStandIn, AgentProcess]]:
    """Run one enrolled agent, and the hub's part for it."""
    with hub_of_one(broker) as hub:
        agent = AgentProcess(folder, "--runtime", "onnxruntime", *options)
        hub.enrol(agent.data / "identity")
        try:
            yield hub, agent.start()
        finally:
            agent.close()


def roll_out(hub: HubStandIn, version: TinyVersion, site: DesiredSite | None) -> None:
    hub.publish_artifact(version.file)
    hub.publish_manifest(version.manifest())
    hub.want({"tiny": version.wanted(f"dp-{version.number}")}, config=NO_WAIT, site=site)
    hub.wait_for_section("models/tiny", "applied", f"dp-{version.number}")


def status(port: int, pair: Path) -> bytes:
    """Return what the cache answers to whoever has this certificate, for an artifact that nobody has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pair)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw, context.wrap_socket(raw) as tls:
        tls.sendall(f"GET /artifact/{'0' * 64}/16384/0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return tls.recv(12)


def test_a_real_cache_serves_its_members_alone_and_follows_the_signed_list_at_once(
    broker: Broker, tmp_path: Path
) -> None:
    port = free_port()
    stranger = enrolled(broker.devices, tmp_path / "stranger" / "identity")
    serving = ("--site-host", "127.0.0.1", "--site-port", str(port))
    with (
        device(broker, tmp_path / "one", *serving) as (cache, _),
        device(broker, tmp_path / "two") as (member, neighbour),
    ):
        site = DesiredSite(name="lan", cache=cache.device_id, host="127.0.0.1", port=port)
        own = site.model_copy(update={"members": (member.device_id,)})
        version = TinyVersion(1, padding_bytes=200_000)
        roll_out(cache, version, own)
        cache.wait_for_section("site", "applied")
        roll_out(member, version, site)
        assert OF_THE_CACHE in neighbour.log()
        pair = neighbour.data / "identity" / PAIR
        assert (status(port, pair), status(port, stranger.folder / PAIR)) == (b"HTTP/1.1 404", b"HTTP/1.1 403")

        cache.want({"tiny": version.wanted("dp-1")}, config=NO_WAIT, site=site)
        wait_until_taken(cache)
        assert status(port, pair) == b"HTTP/1.1 403"
        cache.want({"tiny": version.wanted("dp-1")}, config=NO_WAIT)
        wait_until_taken(cache)
        cache.wait_until(lambda hub: hub.reported is not None and "site" not in hub.reported.sections)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def wait_until_taken(hub: HubStandIn) -> None:
    """Wait until the device has the newest desired state."""
    hub.wait_until(lambda seen: seen.reported is not None and seen.reported.generation == seen.generation)


def test_a_device_whose_agent_was_not_started_for_it_serves_nobody_though_the_hub_asks(
    broker: Broker, tmp_path: Path
) -> None:
    port = free_port()
    with device(broker, tmp_path / "one") as (hub, _):
        site = DesiredSite(name="lan", cache=hub.device_id, host="127.0.0.1", port=port, members=(new_device_id(),))
        hub.want({}, config=NO_WAIT, site=site)
        report = hub.wait_for_section("site", "failed").sections["site"]
        assert report.problem is not None
        assert "--site-host" in report.problem.remedy
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_an_agent_whose_cache_serves_wrong_bytes_converges_over_the_broker_and_reports_it(
    broker: Broker, tmp_path: Path
) -> None:
    liar = enrolled(broker.devices, tmp_path / "liar" / "identity")
    false = FalseCache(liar.folder / PAIR, liar.ca_path, says(bytes(16 * 1024)))
    with start_blocking_portal() as portal, device(broker, tmp_path / "one") as (hub, agent):
        serving, port = portal.start_task(false.serve)
        roll_out(
            hub,
            TinyVersion(1, padding_bytes=100_000),
            DesiredSite(name="lan", cache=liar.device_id, host="127.0.0.1", port=port),
        )
        assert agent.serves("tiny") == 1
        report = hub.wait_for_section("site", "failed").sections["site"]
        assert report.problem is not None
        assert liar.device_id in report.problem.message
        assert OF_THE_CACHE not in agent.log()
        assert len(false.visitors) == 1
        serving.cancel()
