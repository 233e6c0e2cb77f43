"""Ports that the system is left to choose can be had again after a restart."""

import socket
from pathlib import Path

import pytest

from shoal_hub.broker import ports


def test_no_outgoing_connection_can_take_a_port_that_was_chosen() -> None:
    first, last = (int(word) for word in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    chosen = {ports.free_port() for _ in range(50)}
    assert len(chosen) > 40
    assert all(not first <= port <= last and ports.is_free(port) for port in chosen)


@pytest.mark.parametrize("told", ["1024 65535", None])
def test_where_all_ports_may_be_taken_any_free_one_is_chosen(
    told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ip_local_port_range"
    if told is not None:
        file.write_text(told)
    monkeypatch.setattr(ports, "_EPHEMERAL", file)
    assert ports.is_free(ports.free_port())


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as listening:
        assert not ports.is_free(listening.getsockname()[1])
