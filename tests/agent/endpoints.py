"""A real endpoint on a free port, and requests that reach the routes without one."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio

from shoal_agent.endpoint import Address, EndpointLimits, Listener, Request, RequestError, Response, Router, refuse


class Answer(NamedTuple):
    """What the routes answered."""

    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def listening(router: Router, limits: EndpointLimits = EndpointLimits()) -> AsyncIterator[int]:  # noqa: B008
    """Serve on loopback until the block ends; gives the port."""
    async with anyio.create_task_group() as group:
        port = await group.start(Listener(router, limits).serve, Address())
        yield port
        group.cancel_scope.cancel()


async def ask(
    router: Router,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[bytes, bytes] | None = None,
    peer: str | None = "127.0.0.1",
) -> Answer:
    """Ask the routes as a connection would."""
    try:
        found = router.find(method, path)
        request = Request(
            method, path, {b"host": b"127.0.0.1:8080", **(headers or {})}, body, params=found.params, peer=peer
        )
        outcome = found.handler(request)
        response = outcome if isinstance(outcome, Response) else await asyncio.ensure_future(outcome)
    except RequestError as error:
        response = refuse(error)
    content = b"".join(bytes(part) for part in response.parts)
    return Answer(response.status, content, dict(response.headers))
