"""Ranges over HTTPS: a hub that hangs up is asked again with the trust of now, and a rollback waits for no answer."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric import ec
from tests.agent.simulators.director import DEVICE, ref_of
from tests.agent.simulators.https_hub import Authority

from shoal_agent.clock import Clock
from shoal_agent.errors import FetchError
from shoal_agent.hub_ranges import HubRanges
from shoal_agent.identity import PAIR, Identity, to_pem
from shoal_agent.pairs import Pairs
from shoal_contract.ledger import Traffic

pytestmark = pytest.mark.anyio
DATA = bytes(range(100))
SHA = ref_of(DATA).sha256
KEEP_ALIVE_S = 0.1


class Server:
    """Answers each request with `DATA` once `gate` is open, and ends a connection that is idle for long."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.gate, self.asked, self.hung_up = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = KEEP_ALIVE_S

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def do_GET(self) -> None:
                gate = outer.gate
                outer.asked.set()
                gate.wait(20)
                self.send_response(206)
                self.send_header("Content-Length", str(len(DATA)))
                self.end_headers()
                self.wfile.write(DATA)

            def finish(self) -> None:
                super().finish()
                self.connection.close()
                outer.hung_up.set()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.socket = authority.server_context(folder).wrap_socket(self.http.socket, server_side=True)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust hangs up
        self.url = f"https://127.0.0.1:{self.http.server_address[1]}"

    async def idle(self) -> None:
        """Return once it has hung up."""
        assert await to_thread.run_sync(self.hung_up.wait, 10)
        self.hung_up.clear()


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[Server]:
    made = Server(tmp_path, authority)
    thread = threading.Thread(target=made.http.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.gate.set()
    made.http.shutdown()
    thread.join()
    made.http.server_close()


@pytest.fixture
def counted() -> list[Traffic]:
    return []


@pytest.fixture
def ranges(tmp_path: Path, server: Server, authority: Authority, counted: list[Traffic]) -> Iterator[HubRanges]:
    (tmp_path / PAIR).write_bytes(to_pem(ec.generate_private_key(ec.SECP256R1())))
    (tmp_path / "ca.pem").write_text(authority.pem)
    made = HubRanges(Identity(tmp_path, DEVICE, "", 0, server.url, b""), Pairs(tmp_path), Clock(None), counted.append)
    yield made
    made.close()


async def test_a_hub_that_has_ended_an_idle_connection_is_asked_again(
    server: Server, ranges: HubRanges, counted: list[Traffic]
) -> None:
    for times in (1, 2):
        assert await ranges.read(SHA, 0, len(DATA)) == DATA
        assert await ranges.read(SHA, 0, len(DATA)) == DATA
        assert server.connections == times, "between requests it stays open"
        await server.idle()
    assert len(counted) == 4 + 2, "each connection is counted, too"


async def test_a_hub_that_does_not_answer_at_all_is_asked_once(server: Server, ranges: HubRanges) -> None:
    server.http.RequestHandlerClass.do_GET = lambda self: self.connection.close()  # type: ignore[attr-defined]
    with pytest.raises(FetchError, match="over HTTPS: asking the hub"):
        await ranges.read(SHA, 0, len(DATA))
    assert server.connections == 1


async def test_a_connection_is_made_with_the_trust_of_now(
    server: Server, ranges: HubRanges, tmp_path: Path, authority: Authority
) -> None:
    other = Authority("other").pem
    (tmp_path / "ca.pem").write_text(other)
    with pytest.raises(FetchError, match="certificate verify failed"):
        await ranges.read(SHA, 0, len(DATA))
    (tmp_path / "ca.pem").write_text(authority.pem)
    assert await ranges.read(SHA, 0, len(DATA)) == DATA
    await server.idle()
    (tmp_path / "ca.pem").write_text(other)
    with pytest.raises(FetchError, match="certificate verify failed"):
        await ranges.read(SHA, 0, len(DATA))


async def test_neither_a_rollback_nor_the_agent_s_end_waits_for_a_range(server: Server, ranges: HubRanges) -> None:
    shut = server.gate = threading.Event()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(ranges.read, SHA, 0, len(DATA))
            assert await to_thread.run_sync(server.asked.wait, 10)
            group.cancel_scope.cancel()
        server.gate = threading.Event()
        server.gate.set()
        assert await ranges.read(SHA, 0, len(DATA)) == DATA, "what has to be fetched does not wait either"
        ranges.close()
    assert not shut.is_set(), "the hub has not answered yet"
    assert server.connections == 2
    shut.set()


async def test_to_hang_up_waits_for_no_answer_and_comes_after_it(server: Server, ranges: HubRanges) -> None:
    server.gate.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(ranges.read, SHA, 0, len(DATA))
        assert await to_thread.run_sync(server.asked.wait, 10)
        ranges.close()
        assert not server.gate.is_set()
        server.gate.set()
    assert ranges._connection is None
