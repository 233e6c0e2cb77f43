"""A stop over TLS lets an answer end that is still being sent, by whichever event loop."""

import socket
import ssl
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from shoal_agent.endpoint import Address, EndpointLimits, Listener, Request, Response, Route, Router
from shoal_agent.endpoint.connection import _FAREWELL_S

SMALL_BYTES = 4096


def flood(request: Request) -> Response:
    return Response((b"x" * int(request.body),))


def ask(size: int) -> bytes:
    body = str(size).encode()
    return b"POST /flood HTTP/1.1\r\nHost: device\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def connect(port: int, trusted: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection over which a first answer has come, and whose peer takes little that is not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
    plain.settimeout(20)
    plain.connect(("127.0.0.1", port))
    peer = trusted.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
    peer.sendall(ask(1))
    while not peer.recv(65536).endswith(b"\r\n\r\nx"):
        pass
    return peer


def ask_and_read_one_byte(peer: ssl.SSLSocket, size: int) -> None:
    peer.sendall(ask(size))
    assert peer.recv(1) == b"H"


def read_late(peer: ssl.SSLSocket) -> int:
    """Return how many bytes come before the farewell, when what an idle peer is given has long passed."""
    time.sleep(3 * _FAREWELL_S)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    size = 0
    while piece := peer.recv(65536):
        size += len(piece)
    return size


@pytest.mark.parametrize("size", [50_000, 2_000_000])  # less than a transport holds before it says so, and more
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": use}) for use in (False, True)])
@pytest.mark.anyio
async def test_a_stop_lets_an_answer_end_that_is_half_read(server_pair: tuple[Path, Path], size: int) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*server_pair)
    trusted = ssl.create_default_context(cafile=str(server_pair[0]))
    listener = Listener(Router([Route("/flood", {"POST": flood})]), EndpointLimits(shutdown_s=60, linger_s=60))
    came = 0
    with anyio.fail_after(30):
        async with anyio.create_task_group() as reading, anyio.create_task_group() as serving:
            port = await serving.start(listener.serve, Address(tls=tls))
            peer = await anyio.to_thread.run_sync(connect, port, trusted)
            [connection] = listener._connections
            own = connection._transport.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
            await anyio.to_thread.run_sync(ask_and_read_one_byte, peer, size)

            async def read() -> None:
                nonlocal came
                came = await anyio.to_thread.run_sync(read_late, peer)
                peer.close()

            reading.start_soon(read)
            serving.cancel_scope.cancel()
    assert came > size
