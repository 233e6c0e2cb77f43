"""Connections that another process accepted are answered as one's own, until it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
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
    bound = bind_path(tmp_path / "asked")
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
