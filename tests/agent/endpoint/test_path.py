"""Whose a path is at which a Unix-domain socket listens."""

import socket
from pathlib import Path

import anyio
import httpx
import pytest

from shoal_agent.endpoint import Address, EndpointError, Listener, Request, Response, Route, Router
from shoal_agent.endpoint.listener import bind_path

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _answer(_: Request) -> Response:
    return Response((b"first",))


def _listener() -> Listener:
    return Listener(Router([Route("/asked", {"GET": _answer})]))


async def test_a_path_at_which_another_listens_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    async with anyio.create_task_group() as group:
        await group.start(_listener().serve, Address(path=path))
        with pytest.raises(EndpointError, match="another process listens at") as refused, anyio.fail_after(10):
            await _listener().serve(Address(path=path))
        assert "stop that process, or choose another path" in refused.value.remedy
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://x") as client:
            assert (await client.get("/asked")).content == b"first"
        group.cancel_scope.cancel()
    assert not path.exists()


async def test_a_path_is_refused_even_if_who_listens_has_no_room(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(tmp_path / "asked"))
        busy.listen(0)
        waiting.connect(str(tmp_path / "asked"))
        with pytest.raises(EndpointError, match="another process listens at"):
            bind_path(tmp_path / "asked")


async def test_who_ends_does_not_take_away_the_path_of_another(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    with socket.socket(socket.AF_UNIX) as other:
        async with anyio.create_task_group() as group:
            await group.start(_listener().serve, Address(path=path))
            path.unlink()
            other.bind(str(path))
            group.cancel_scope.cancel()
        assert path.is_socket()


async def test_what_is_closed_takes_nothing_away(tmp_path: Path) -> None:
    place = bind_path(tmp_path / "asked")
    place.bound.close()  # from now on another may have its inode
    place.unlink()
    assert place.path.is_socket()
