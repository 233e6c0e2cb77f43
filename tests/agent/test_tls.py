"""TLS by trusted time: a clock that is behind neither locks the device out nor makes it take what has expired."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tests.agent.simulators.https_hub import Authority

from shoal_agent.clock import Clock
from shoal_agent.tls import LatestContext, hub_context

IN_1970 = datetime(1970, 1, 1, tzinfo=timezone.utc)
NOW = datetime.now(timezone.utc)
YEAR = timedelta(days=365)
FUTURE = (NOW + 2 * YEAR, NOW + 3 * YEAR)
"""OpenSSL, which goes by this machine's clock, takes nothing from there."""


@contextmanager
def server(authority: Authority, folder: Path) -> Iterator[int]:
    """Answer one TLS connection with what it has read; gives the port."""
    context = authority.server_context(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError), listener.accept()[0] as raw, context.wrap_socket(raw, server_side=True) as tls:
                tls.sendall(tls.recv(100))

        thread = threading.Thread(target=answer)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.close()
        thread.join()


def talk(context: ssl.SSLContext, port: int) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(b"hello")
        return tls.recv(100)


def write_ca(authority: Authority, folder: Path) -> Path:
    path = folder / "ca.pem"
    path.write_text(authority.pem)
    return path


def clock_at(floor: datetime, system: datetime = IN_1970) -> Clock:
    return Clock(None, lambda: system, made_at=floor)


def test_in_1970_the_hub_is_known_by_dates_at_the_floor(tmp_path: Path) -> None:
    authority = Authority(valid=FUTURE)
    with server(authority, tmp_path) as port:
        assert talk(hub_context(write_ca(authority, tmp_path), clock_at(NOW + 2.5 * YEAR)), port) == b"hello"


def test_a_certificate_that_was_renewed_while_the_device_was_off_is_taken(tmp_path: Path) -> None:
    authority = Authority(valid=FUTURE)
    with server(authority, tmp_path) as port:
        assert talk(hub_context(write_ca(authority, tmp_path), clock_at(NOW - YEAR)), port) == b"hello"


def test_in_1970_a_servers_certificate_that_has_expired_at_the_floor_is_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    long, short = Authority(valid=(NOW - YEAR, NOW + 9 * YEAR)), Authority(valid=(NOW - YEAR, NOW + YEAR))
    short._key, short._name = long._key, long._name
    with server(short, tmp_path) as port:
        context = hub_context(write_ca(long, tmp_path), clock_at(NOW + 2 * YEAR))
        with pytest.raises(ssl.SSLCertVerificationError, match="the server's certificate expired at"):
            talk(context, port)


def test_in_1970_a_ca_that_has_expired_at_the_floor_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority()
    with pytest.raises(ssl.SSLCertVerificationError, match="every CA certificate of the hub has expired"):
        hub_context(write_ca(authority, tmp_path), clock_at(NOW + YEAR))


@pytest.mark.parametrize("system", [IN_1970, NOW], ids=["behind", "right"])
def test_a_rogue_server_with_a_certificate_of_another_ca_gets_no_connection(tmp_path: Path, system: datetime) -> None:
    known, rogue = Authority("known"), Authority("rogue")
    refused: list[bool] = []
    context = LatestContext(
        lambda: hub_context(write_ca(known, tmp_path), clock_at(NOW - YEAR, system)), lambda: refused.append(True)
    )
    with server(rogue, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError):
        talk(context, port)
    assert refused == [True]


def test_the_next_connection_goes_by_the_ca_and_the_clock_of_its_own_time(tmp_path: Path) -> None:
    first, second = Authority("first"), Authority("second")
    path = write_ca(first, tmp_path)
    context = LatestContext(lambda: hub_context(path, clock_at(NOW - YEAR, NOW)), lambda: None)
    with server(first, tmp_path) as port:
        assert talk(context, port) == b"hello"
    write_ca(second, tmp_path)
    with server(second, tmp_path) as port:
        assert talk(context, port) == b"hello"


def test_a_ca_file_that_is_damaged_is_an_os_error_and_no_reason_to_trust_the_system(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("the disk has damaged this")
    for system in (IN_1970, NOW):
        with pytest.raises(OSError, match="."):
            hub_context(path, clock_at(NOW - YEAR, system))
