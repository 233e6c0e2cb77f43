"""A device that poses as the broker or as the hub, with the certificate that this very hub has given to it.

No agent talks to it. Site caches are the reason to ask: there, devices serve devices with the same certificates.
"""

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.agent.test_rogue_broker import WAIT_S, heard
from tests.simulators.agent_process import AgentProcess
from tests.simulators.broker import Broker, listening
from tests.simulators.hub import hub_of_one
from tests.simulators.lan import enrolled

from shoal_agent.clock import Clock
from shoal_agent.errors import HubUnreachableError
from shoal_agent.hub_api import call
from shoal_agent.identity import PAIR, Identity
from shoal_contract import topics
from shoal_hub.mqtt import Message
from shoal_hub.trust.ca import DeviceAuthority

SERVER_PURPOSE = "unsuitable certificate purpose"


def test_a_real_agent_says_nothing_to_a_device_that_poses_as_the_broker(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "rogue")
    thief = (enrolled(broker.devices, tmp_path / "thief" / "identity").folder / PAIR).read_bytes()
    place = thief.index(b"-----BEGIN CERTIFICATE")
    shown = broker.config.devices.identity
    own = shown.key.read_bytes(), shown.certificate.read_bytes()
    shown.key.write_bytes(thief[:place])
    shown.certificate.write_bytes(thief[place:])
    broker.process.ensure()
    try:
        with (
            hub_of_one(broker) as stand_in,
            listening(broker.endpoint("hub-spy"), f"{topics.ROOT}/device/#") as spy,
        ):
            agent = AgentProcess(tmp_path / "device", is_quick=True)
            stand_in.enrol(agent.data / "identity")
            agent.start()
            try:
                agent.wait_for_log(SERVER_PURPOSE)
                assert heard(spy) == []
                shown.key.write_bytes(own[0])
                shown.certificate.write_bytes(own[1])
                broker.restart(keeps_what_is_retained=True)
                assert spy.wait_for(Message, WAIT_S), "to the right broker it speaks"
            finally:
                agent.close()
    finally:
        broker.process.stop()


@pytest.fixture
def authority(tmp_path: Path) -> DeviceAuthority:
    return DeviceAuthority.open(tmp_path / "trust")


@contextmanager
def posing(thief: Identity) -> Iterator[int]:
    """Serve HTTPS with a device's own key and certificate; gives the port."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(thief.folder / PAIR)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_device_that_poses_as_the_hub_is_asked_nothing(authority: DeviceAuthority, tmp_path: Path) -> None:
    victim, thief = (enrolled(authority, tmp_path / name / "identity") for name in ("victim", "thief"))
    with posing(thief) as port, pytest.raises(HubUnreachableError, match=SERVER_PURPOSE):
        call(f"https://127.0.0.1:{port}", "POST", "/api/v1/renew", victim.hub_context(Clock(None)), b"{}")


@pytest.mark.parametrize("is_behind", [False, True])
def test_its_certificate_is_refused_for_what_it_is_for_and_not_only_for_its_name(
    authority: DeviceAuthority, tmp_path: Path, *, is_behind: bool
) -> None:
    """By trusted time as well, where OpenSSL is told to leave the dates to the agent."""
    from datetime import datetime, timezone

    victim, thief = (enrolled(authority, tmp_path / name / "identity") for name in ("victim", "thief"))
    clock = Clock(None, lambda: datetime(1970, 1, 1, tzinfo=timezone.utc)) if is_behind else Clock(None)
    assert clock.is_behind == is_behind
    for context in (victim.tls_context(clock), victim.hub_context(clock)):
        context.check_hostname = False
        with posing(thief) as port, socket.create_connection(("127.0.0.1", port)) as raw:
            with pytest.raises(ssl.SSLCertVerificationError, match=SERVER_PURPOSE):
                context.wrap_socket(raw)
            with suppress(OSError):
                raw.close()
