"""Connections over real sockets: turns, slow and silent clients, limits, ends, streams, and the places to ask at."""

import socket
import ssl
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest
from tests.agent.endpoints import listening

from shoal_agent.endpoint import (
    Address,
    EndpointError,
    EndpointLimits,
    Handler,
    Listener,
    Request,
    RequestError,
    Response,
    Route,
    Router,
)
from shoal_agent.endpoint.keys import ApiKeys
from shoal_agent.errors import DiskError

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 29, 12, 0, tzinfo=timezone.utc)
LIMITS = EndpointLimits(read_timeout_s=0.3, write_timeout_s=0.3, idle_timeout_s=30, linger_s=0.5, max_connections=4)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Site:
    """Routes with handlers of every kind."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.entered = anyio.Event()
        self.cancelled = anyio.Event()
        routes: dict[str, Handler] = {
            "echo": self.echo,
            "slow": self.slow,
            "stream": self.stream,
            "flood": self.flood,
            "broken": self.broken,
        }
        self.router = Router([Route(f"/{name}", {"POST": one, "GET": one}) for name, one in routes.items()])

    def echo(self, request: Request) -> Response:
        return Response((request.body,))

    async def slow(self, request: Request) -> Response:
        self.entered.set()
        try:
            await self.gate.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise
        return Response((request.body,))

    def stream(self, _: Request) -> Response:
        async def pieces() -> AsyncGenerator[bytes, None]:
            for number in range(3):
                yield b"data: %d\n\n" % number

        return Response(content_type="text/event-stream", stream=pieces())

    def flood(self, _: Request) -> Response:
        return Response((b"x" * 30_000_000,))

    def broken(self, _: Request) -> Response:
        raise ZeroDivisionError


def post(path: str, body: bytes = b"") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: device\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def read_to_the_end(stream: socket.socket) -> int:
    """Return how many bytes come before the end."""
    size = 0
    try:
        while piece := stream.recv(2**20):
            size += len(piece)
    except ConnectionResetError:
        pass
    return size


async def read_all(stream: anyio.abc.SocketStream) -> bytes:
    with anyio.fail_after(10):
        try:
            return b"".join([piece async for piece in stream])
        except anyio.BrokenResourceError:  # cut off
            return b""


async def test_answers_come_in_the_order_of_the_requests_however_long_one_takes() -> None:
    site = Site()
    async with listening(site.router) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(post("/slow", b"first") + post("/echo", b"second"))
        await site.entered.wait()
        site.gate.set()
        answer = b""
        with anyio.fail_after(10):
            while not answer.endswith(b"second"):
                answer += await stream.receive()
    assert answer.index(b"first") < answer.index(b"HTTP/1.1", 1) < answer.index(b"second")


async def test_more_requests_at_once_than_may_wait_are_all_answered() -> None:
    site = Site()
    async with listening(site.router) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(post("/slow", b"0") + b"".join(post("/echo", b"%d" % n) for n in range(1, 60)))
        await site.entered.wait()
        site.gate.set()
        answer = b""
        with anyio.fail_after(10):
            while answer.count(b"HTTP/1.1 200") < 60:
                answer += await stream.receive()
    found = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert found == [b"%d" % n for n in range(60)]


async def test_no_more_requests_wait_than_may_out_of_what_has_come_at_once() -> None:
    site = Site()
    listener = Listener(site.router, EndpointLimits(max_pipelined=4, read_timeout_s=0.3))
    async with anyio.create_task_group() as group:
        port = await group.start(listener.serve, Address())
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(post("/slow", b"0") + b"".join(post("/echo", b"%d" % n) for n in range(1, 500)))
            await site.entered.wait()
            [connection] = listener._connections
            assert len(connection._waiting) == 4
            await anyio.sleep(0.6)  # it is not the client who is waited for
            site.gate.set()
            answer = b""
            with anyio.fail_after(10):
                while answer.count(b"HTTP/1.1 200") < 500:
                    answer += await stream.receive()
        group.cancel_scope.cancel()
    found = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert found == [b"%d" % n for n in range(500)]


@pytest.mark.parametrize("part", [b"", b"POST /echo HTTP/1.1\r\nHo", post("/echo", b"body")[:-2]])
async def test_a_client_that_stops_amid_a_request_gets_408_and_one_without_a_request_is_left_alone(part: bytes) -> None:
    async with listening(Site().router, LIMITS) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(part or b"")
        if part:
            answer = await read_all(stream)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"did not end within 0.3 s" in answer
        else:
            with pytest.raises(TimeoutError), anyio.fail_after(1):
                await stream.receive()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with listening(Site().router, LIMITS) as port:
        with socket.create_connection(("127.0.0.1", port)) as lazy:
            lazy.sendall(post("/flood"))
            await anyio.sleep(1.5)
            assert await anyio.to_thread.run_sync(read_to_the_end, lazy) < 30_000_000


async def test_one_connection_more_than_allowed_takes_the_place_of_one_that_is_idle() -> None:
    site = Site()
    async with listening(site.router, LIMITS) as port:
        streams = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(4)]
        await streams[0].send(post("/slow", b"busy"))
        await site.entered.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for _ in range(3):
                assert (await client.post("/echo", content=b"x")).status_code == 200
        site.gate.set()
        assert (await streams[0].receive()).endswith(b"busy")
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(5):
            await streams[1].receive()
        for stream in streams:
            await stream.aclose()


async def test_who_has_just_asked_keeps_the_place_and_who_never_did_gives_it_up() -> None:
    site = Site()
    async with listening(site.router, replace(LIMITS, max_connections=2)) as port:
        asking, silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(2)]
        await asking.send(post("/echo", b"1"))
        assert (await asking.receive()).endswith(b"1")
        async with await anyio.connect_tcp("127.0.0.1", port) as more:
            await more.send(post("/echo", b"2"))
            assert (await more.receive()).endswith(b"2")
            async with await anyio.connect_tcp("127.0.0.1", port) as too_many:
                assert (await read_all(too_many)).startswith(b"HTTP/1.1 503 ")
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(5):
            await silent.receive()
        await asking.send(post("/echo", b"3"))
        assert (await asking.receive()).endswith(b"3")
        await asking.aclose()
        await silent.aclose()


async def test_who_may_not_ask_holds_no_place_by_asking() -> None:
    site = Site()

    def refuse_all(_headers: dict[bytes, bytes]) -> None:
        raise RequestError("no key", 401)

    async with anyio.create_task_group() as group:
        listener = Listener(site.router, replace(LIMITS, max_connections=1), refuse_all)
        port = await group.start(listener.serve, Address())
        async with await anyio.connect_tcp("127.0.0.1", port) as refused:
            await refused.send(post("/echo"))
            assert (await refused.receive()).startswith(b"HTTP/1.1 401 ")
            async with await anyio.connect_tcp("127.0.0.1", port) as more:
                await more.send(post("/echo"))
                assert (await more.receive()).startswith(b"HTTP/1.1 401 "), "the place was free"
        group.cancel_scope.cancel()


async def test_one_connection_more_gets_503_where_none_is_idle() -> None:
    site = Site()
    async with listening(site.router, LIMITS) as port:
        streams = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(4)]
        for stream in streams:
            await stream.send(post("/slow"))
        async with await anyio.connect_tcp("127.0.0.1", port) as one_more:
            answer = await read_all(one_more)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer
        assert b"4 connections are open, and none of them can be spared" in answer
        site.gate.set()
        for stream in streams:
            assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
            await stream.aclose()


async def test_what_nobody_waits_for_any_more_is_given_up() -> None:
    site = Site()
    async with listening(site.router) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(post("/slow"))
            await site.entered.wait()
        with anyio.fail_after(5):
            await site.cancelled.wait()


async def test_a_request_whose_client_says_no_more_is_answered() -> None:
    async with listening(Site().router) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(post("/echo", b"last words"))
        await stream.send_eof()
        assert (await read_all(stream)).endswith(b"last words")


async def test_a_stream_is_sent_as_it_comes_and_ends_with_the_connection() -> None:
    async with listening(Site().router) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"GET /stream HTTP/1.1\r\nHost: device\r\n\r\n")
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream" in head
    assert b"content-length" not in head
    assert body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_a_refusal_is_read_even_by_a_client_that_still_sends() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: device\r\nContent-Length: 900000000\r\n\r\n"
    async with listening(Site().router) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head)
        for _ in range(20):
            await stream.send(b"x" * 100_000)
        assert (await read_all(stream)).startswith(b"HTTP/1.1 413 ")


async def test_a_defect_is_an_error_body_and_the_connection_goes_on() -> None:
    async with listening(Site().router) as port, httpx.AsyncClient(trust_env=False) as client:
        broken = await client.get(f"http://127.0.0.1:{port}/broken")
        assert (broken.status_code, "ZeroDivisionError" in broken.json()["error"]) == (500, True)
        assert (await client.post(f"http://127.0.0.1:{port}/echo", content=b"x")).content == b"x"


async def test_a_stop_closes_idle_connections_and_lets_requests_in_flight_end() -> None:
    site = Site()
    async with anyio.create_task_group() as outer, anyio.create_task_group() as group:
        port = await group.start(Listener(site.router).serve, Address())
        idle = await anyio.connect_tcp("127.0.0.1", port)
        busy = await anyio.connect_tcp("127.0.0.1", port)
        await busy.send(post("/slow", b"done"))
        await site.entered.wait()

        async def read() -> None:
            assert (await read_all(idle)) == b""
            site.gate.set()
            answer = await read_all(busy)
            assert answer.endswith(b"done")
            assert b"connection: close" in answer
            for stream in (idle, busy):
                await stream.aclose()

        outer.start_soon(read)
        group.cancel_scope.cancel()


async def test_a_unix_domain_socket_speaks_the_same_and_replaces_what_a_killed_agent_left(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    for _ in range(2):
        async with anyio.create_task_group() as group:
            await group.start(Listener(Site().router).serve, Address(path=path))
            async with httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://device"
            ) as client:
                assert (await client.post("/echo", content=b"x")).content == b"x"
            assert path.stat().st_mode & 0o777 == 0o660
            group.cancel_scope.cancel()
        path.unlink(missing_ok=True)
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))
        left.close()


async def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(EndpointError, match="cannot be bound"):
        await Listener(Site().router).serve(Address(path=tmp_path / "notes.txt"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


async def test_over_the_network_it_takes_tls_and_a_key(tmp_path: Path, server_pair: tuple[Path, Path]) -> None:
    keys = ApiKeys(tmp_path / "api-keys.json")
    key = keys.create("dashboard", NOON)
    certificate, private = server_pair
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, private)
    async with anyio.create_task_group() as group:
        listener = Listener(Site().router, authorize=keys.authorize)
        port = await group.start(listener.serve, Address("0.0.0.0", tls=tls))  # noqa: S104 - what is tested
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trusted, trust_env=False) as client:
            statuses = []
            for header in ("", "Bearer", "Bearer wrong", f"Basic {key}", f"Bearer {key}"):
                answer = await client.post("/echo", content=b"x", headers={"authorization": header})
                statuses.append(answer.status_code)
            assert statuses == [401, 401, 401, 401, 200]
            assert (await client.post("/echo")).headers["www-authenticate"] == "Bearer"
            keys.revoke("dashboard")
            answer = await client.post("/echo", content=b"x", headers={"authorization": f"Bearer {key}"})
            assert (answer.status_code, "not one of this device's" in answer.text) == (401, True)
        async with await anyio.connect_tcp("127.0.0.1", port) as plain:
            await plain.send(post("/echo"))
            assert await read_all(plain) == b""
        group.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": use}) for use in (False, True)])
async def test_a_stop_waits_for_no_idle_peer_of_tls_that_does_not_read(server_pair: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*server_pair)
    trusted = ssl.create_default_context(cafile=str(server_pair[0]))
    answers: list[bytes] = []

    def ask(port: int) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        peer = trusted.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        peer.sendall(post("/echo", b"x"))
        while not (answers and answers[-1].endswith(b"x")):
            answers.append(peer.recv(65536))
        return peer

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            listener = Listener(Site().router, EndpointLimits(shutdown_s=60, linger_s=60))
            peer = await anyio.to_thread.run_sync(ask, await group.start(listener.serve, Address(tls=tls)))
            group.cancel_scope.cancel()
    with peer:
        assert peer.recv(1) == b"", "it was told before it was cut off"


async def test_silent_handshakes_are_bounded_and_hold_up_nobody(server_pair: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*server_pair)
    trusted = ssl.create_default_context(cafile=str(server_pair[0]))
    async with anyio.create_task_group() as group:
        listener = Listener(Site().router, EndpointLimits(max_connections=3))
        port = await group.start(listener.serve, Address(tls=tls))
        silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(5)]
        for stream in silent[:2]:  # the oldest gave way
            assert await read_all(stream) == b""
        async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trusted, trust_env=False) as client:
            assert (await client.post("/echo", content=b"x")).content == b"x"
            assert await read_all(silent[2]) == b""
            with pytest.raises(TimeoutError), anyio.fail_after(0.2):
                await silent[4].receive()
        group.cancel_scope.cancel()
    for stream in silent:
        await stream.aclose()


async def test_idle_connections_give_way_before_handshakes_do(server_pair: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*server_pair)
    trusted = ssl.create_default_context(cafile=str(server_pair[0]))
    async with anyio.create_task_group() as group:
        listener = Listener(Site().router, EndpointLimits(max_connections=2, spared_idle_s=0))
        port = await group.start(listener.serve, Address(tls=tls))
        async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trusted, trust_env=False) as client:
            assert (await client.post("/echo", content=b"x")).status_code == 200  # and stays connected
            silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(2)]
            with anyio.fail_after(5):
                while listener._connections:  # noqa: ASYNC110 - nothing tells it
                    await anyio.sleep(0.005)
            for stream in silent:
                with pytest.raises(TimeoutError), anyio.fail_after(0.1):
                    await stream.receive()
                await stream.aclose()
        group.cancel_scope.cancel()


def test_keys_are_kept_as_hashes_and_names_are_unique(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path / "api-keys.json")
    assert keys.read() == ()
    key = keys.create("one", NOON)
    assert key not in (tmp_path / "api-keys.json").read_text()
    assert (tmp_path / "api-keys.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(DiskError, match="there is one of this name"):
        keys.create("one", NOON)
    with pytest.raises(DiskError, match="there are one in"):
        keys.revoke("two")
    ApiKeys(tmp_path / "api-keys.json").authorize({b"authorization": b"bearer " + key.encode()})
    (tmp_path / "api-keys.json").write_text("[{]")
    with pytest.raises(DiskError, match="reading the keys"):
        keys.read()


def test_a_path_of_other_methods_says_which() -> None:
    router = Router([Route("/v2/models/{name}/infer", {"POST": Site().echo})])
    assert router.find("POST", "/v2/models/a%20b/infer").params == {"name": "a b"}
    with pytest.raises(RequestError, match="method not allowed, expected POST") as refused:
        router.find("DELETE", "/v2/models/x/infer")
    assert refused.value.status == 405
    assert refused.value.headers == (("allow", "POST"),)
    for n in range(2000):  # other people's paths are not kept for ever
        router.find("POST", f"/v2/models/{n}/infer")
    assert len(router._found) <= 512
