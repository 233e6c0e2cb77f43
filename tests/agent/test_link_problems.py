"""What the agent's log says of a link that is down, and what to do."""

import ssl

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from shoal_agent.link_problems import explain_end, explain_no_connection

DEVICE = "d-aaaaaaaaaaaaaaaa"
LOST = ReasonCode(PacketTypes.DISCONNECT, "Unspecified error")


def test_a_network_that_is_down_is_told_as_the_system_tells_it() -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    assert explain_no_connection("hub:8883", refused, DEVICE).endswith("Connection refused")
    assert explain_no_connection("hub:8883", None, DEVICE) == "no connection to hub:8883"


def test_a_broker_that_refuses_the_certificate_in_the_handshake_sends_to_the_operator() -> None:
    revoked = ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_REVOKED] sslv3 alert certificate revoked (_ssl.c:1006)")
    assert f"shoal devices show {DEVICE}" in explain_no_connection("hub:8883", revoked, DEVICE)


@pytest.mark.parametrize(
    ("reason", "was_accepted", "expected"),
    [
        (LOST, True, "connection ended: Unspecified error"),
        (LOST, False, "a certificate that is revoked or expired"),
        (ReasonCode(PacketTypes.DISCONNECT, "Session taken over"), True, "took its place"),
    ],
)
def test_an_end_is_told_with_what_can_be_done(reason: ReasonCode, *, was_accepted: bool, expected: str) -> None:
    assert expected in explain_end(reason, DEVICE, was_accepted=was_accepted)
