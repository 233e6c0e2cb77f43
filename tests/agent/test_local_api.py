"""Programs on the device hold and release what serves over loopback; a web page in its browser does not."""

from collections.abc import AsyncIterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.endpoints import ask as ask_routes
from tests.agent.endpoints import listening

from shoal_agent.endpoint import Router
from shoal_agent.errors import AgentError
from shoal_agent.hold import Hold, HoldFile
from shoal_agent.local_api import hold_routes
from shoal_agent.local_endpoint import ask

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)
PATH = "/shoal/v1/hold"


@pytest.fixture
def file(tmp_path: Path) -> HoldFile:
    return HoldFile(tmp_path, lambda: NOON)


@pytest.fixture
async def url(file: HoldFile) -> AsyncIterator[str]:
    async with listening(Router(hold_routes(file))) as port:
        yield f"http://127.0.0.1:{port}"


async def sent(url: str, method: str, body: object = None) -> Any:
    return await anyio.to_thread.run_sync(ask, url, method, PATH, body)


async def test_what_serves_is_held_and_released(url: str, file: HoldFile) -> None:
    assert await sent(url, "GET") == {"is_held": False, "reason": "", "until": None}
    held = await sent(url, "PUT", {"reason": "stocktaking", "for_s": 3600})
    assert held == {"is_held": True, "reason": "stocktaking", "until": "2026-11-28T13:00:00+00:00"}
    assert file.read() == Hold(reason="stocktaking", until=NOON.replace(hour=13))
    assert (await sent(url, "GET"))["is_held"]
    assert not (await sent(url, "DELETE"))["is_held"]
    assert (await sent(url, "PUT", {}))["until"] is None


@pytest.mark.parametrize(
    "body", [[], {"for_s": 0}, {"for_s": "x"}, {"reason": "x" * 300}, {"forever": True}, {"reason": "x" * 5000}]
)
async def test_a_request_that_says_something_else_is_refused_and_changes_nothing(
    url: str, file: HoldFile, body: object
) -> None:
    with pytest.raises(AgentError, match="PUT /shoal/v1/hold"):
        await sent(url, "PUT", body)
    assert file.read() is None


@pytest.mark.parametrize(
    ("client", "status"),
    [("127.0.0.1", 200), ("127.8.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200)]
    + [(far, 403) for far in ("192.168.1.7", "::ffff:192.168.1.7", "2001:db8::1", "no-address")],
)
async def test_who_asks_from_another_device_is_refused_whatever_host_it_names(
    file: HoldFile, client: str, status: int
) -> None:
    answer = await ask_routes(Router(hold_routes(file)), "PUT", PATH, b'{"reason": "mine"}', peer=client)
    assert (answer.status, file.read() is not None) == (status, status == 200)


async def test_a_name_that_leads_to_loopback_and_a_web_page_are_refused(url: str, file: HoldFile) -> None:
    port = int(url.rpartition(":")[2])
    for head in (b"Host: evil.example\r\n", b"Host: 127.0.0.1\r\nOrigin: https://evil.example\r\n"):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"DELETE " + PATH.encode() + b" HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
            assert b"403" in await stream.receive()
    assert file.read() is None
