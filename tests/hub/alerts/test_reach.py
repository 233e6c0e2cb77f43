"""Where alerts may go: no name and no address leads to the hub's own machine or network unless a setting says so."""

import ipaddress
import socket
from typing import Any

import pytest

from shoal_hub.alerts.errors import DeliveryError
from shoal_hub.alerts.reach import Reach, connected, distance, find_address

NEEDED: dict[str, Reach | None] = {
    "8.8.8.8": "public",
    "2606:4700::1111": "public",
    "10.1.2.3": "lan",
    "192.168.0.9": "lan",
    "172.16.5.5": "lan",
    "100.64.1.1": "lan",
    "fd00::1": "lan",
    "127.0.0.1": "loopback",
    "127.8.8.8": "loopback",
    "::1": "loopback",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "lan",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a9fe:a9fe": None,
    "2002:7f00:1::": "loopback",
    "169.254.169.254": None,
    "fd00:ec2::254": None,
    "fd20:ce::254": None,
    "100.100.100.200": None,
    "168.63.129.16": None,
    "64:ff9b::6464:64c8": None,
    "::ffff:168.63.129.16": None,
    "2002:a83f:8110::": None,
    "fe80::1": None,
    "0.0.0.0": None,  # noqa: S104 - what is refused
    "::": None,
    "224.0.0.1": None,
    "255.255.255.255": None,
    "ff02::1": None,
    "240.0.0.1": None,
}


@pytest.mark.parametrize(("address", "needed"), NEEDED.items())
def test_an_address_is_judged_by_where_its_packets_go(address: str, needed: Reach | None) -> None:
    assert distance(ipaddress.ip_address(address)) == needed


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "127.1"])
@pytest.mark.parametrize("reach", ["public", "lan"])
def test_no_spelling_of_this_machine_is_reached(host: str, reach: Reach) -> None:
    with pytest.raises(DeliveryError, match="SHOAL_ALERTS_REACH"):
        find_address(host, 80, reach)
    assert find_address(host, 80, "loopback") in {"127.0.0.1", "::1"}


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is another address each time it is asked for gets nowhere: it is asked for once."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def rebinding(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        with monkeypatch.context() as patch:
            patch.setattr("shoal_hub.alerts.reach.socket.getaddrinfo", rebinding)
            address = find_address("rebinding.example", port, "loopback")
        assert (asked, address) == (["rebinding.example"], "127.0.0.1")
        with connected("127.0.0.1", port, "loopback", 5) as opened:
            assert opened.getpeername() == ("127.0.0.1", port)


def test_of_several_addresses_one_that_is_allowed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("10.0.0.1", "93.184.215.14")]
    monkeypatch.setattr("shoal_hub.alerts.reach.socket.getaddrinfo", lambda *_, **__: found)
    assert find_address("both.example", 443, "public") == "93.184.215.14"


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(DeliveryError, match=r"finding nowhere\.invalid"):
        find_address("nowhere.invalid", 443, "public")


@pytest.mark.parametrize("address", ["fd00:ec2::254", "100.100.100.200", "168.63.129.16", "169.254.169.254"])
def test_a_name_that_leads_to_a_cloud_s_metadata_is_not_reached_whatever_is_allowed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: [(0, 0, 0, "", (address, 80))])
    with pytest.raises(DeliveryError, match="special address"):
        find_address("hooks.example", 80, "loopback")
