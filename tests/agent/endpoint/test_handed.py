"""Connections that another process accepted are answered as one's own, until it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import httpx
import pytest

from shoal_agent.endpoint import Address, Listener, Request, Response, Route, Router, json_response
from shoal_agent.endpoint.handed import hand_over
from shoal_agent.endpoint.listener import bind_path

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _answer(request: Request) -> Response:
    return json_response({"peer": request.peer})


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[socket.socket]:
    """The end at which connections are handed to a listener."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener = Listener(Router([Route("/asked", {"GET": _answer})]))
    with ours:
        async with anyio.create_task_group() as group:
            await group.start(listener.serve, Address(path=tmp_path / "asked", handed=theirs))
            yield ours
            group.cancel_scope.cancel()


async def test_a_connection_that_is_handed_over_is_answered(channel: socket.socket, tmp_path: Path) -> None:
    bound = bind_path(tmp_path / "asked").bound
    bound.listen()
    bound.setblocking(False)  # noqa: FBT003 - as the socket has it

    async def ask() -> None:
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "asked"), verify=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert [(await client.get("/asked")).json() for _ in range(3)] == [{"peer": None}] * 3

    with bound, anyio.fail_after(30):
        for _ in range(5):
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                connection, _ = await asyncio.get_running_loop().sock_accept(bound)
                with connection:
                    assert hand_over(channel, connection)


async def test_who_has_ended_takes_no_connection() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one, other = socket.socketpair()
    with ours, one, other:
        theirs.close()
        assert not hand_over(ours, one)


async def test_it_ends_with_the_process_that_accepts(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener = Listener(Router([Route("/asked", {"GET": _answer})]))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            await group.start(listener.serve, Address(path=tmp_path / "asked", handed=theirs))
            ours.close()


async def test_a_stop_answers_who_was_handed_over_and_refuses_who_comes_later(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    entered, gate = anyio.Event(), anyio.Event()

    async def slow(_: Request) -> Response:
        entered.set()
        await gate.wait()
        return json_response("slow")

    listener = Listener(Router([Route("/asked", {"GET": _answer}), Route("/slow", {"GET": slow})]))
    pairs = [socket.socketpair() for _ in range(5)]
    with ours, ExitStack() as held, anyio.fail_after(30):
        peers = [held.enter_context(peer) for peer, _ in pairs]
        connections = [held.enter_context(connection) for _, connection in pairs]
        for peer, path in zip(peers, ["slow", *["asked"] * 4], strict=True):
            peer.setblocking(False)  # noqa: FBT003 - as the socket has it
            peer.sendall(f"GET /{path} HTTP/1.1\r\nHost: device\r\n\r\n".encode())
        async with anyio.create_task_group() as outer, anyio.create_task_group() as group:
            await group.start(listener.serve, Address(path=tmp_path / "asked", handed=theirs))
            assert hand_over(ours, connections[0])
            connections[0].close()
            await entered.wait()
            for connection in connections[1:4]:
                assert hand_over(ours, connection)
                connection.close()

            async def read() -> None:
                for peer in peers[1:4]:
                    assert (await _read_all(peer)).startswith(b"HTTP/1.1 200 ")
                assert not hand_over(ours, connections[4]), "nobody would read it"
                gate.set()
                assert (await _read_all(peers[0])).endswith(b'"slow"')

            outer.start_soon(read)
            group.cancel_scope.cancel()


async def _read_all(peer: socket.socket) -> bytes:
    found = b""
    while piece := await asyncio.get_running_loop().sock_recv(peer, 65536):
        found += piece
    return found
