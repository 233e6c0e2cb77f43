"""Counts what the API answers, by the route's template: a path that somebody makes up has no series of its own."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shoal_hub.meters import HTTP_REQUESTS, HTTP_SECONDS

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "unmatched"
"""The route of all that leads to none."""
_STREAM: Final = b"text/event-stream"


class MeasuredRequests:
    """ASGI middleware that counts and times requests.

    Args:
        app: What answers.
        templates: The path's template of each function that answers; a request's own does not have all of it.
    """

    def __init__(self, app: ASGIApp, templates: Mapping[object, str]) -> None:
        self._app = app
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status, first_s = 500, None

        async def noting(message: Message) -> None:
            nonlocal status, first_s
            if message["type"] == "http.response.start":
                status = message["status"]
                if dict(message.get("headers", ())).get(b"content-type", b"").startswith(_STREAM):
                    first_s = time.perf_counter() - began_s  # it ends when its reader has had enough
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = self._templates.get(scope.get("endpoint"), UNMATCHED)
            HTTP_REQUESTS.labels(method, route, str(status)).inc()
            took_s = first_s if first_s is not None else time.perf_counter() - began_s
            HTTP_SECONDS.labels(method, route).observe(took_s)


def templates_of(routes: Sequence[BaseRoute]) -> dict[object, str]:
    """Return the template of each function that answers a request, like `/api/v1/rollouts/{rollout_id}`."""
    contexts = iter_route_contexts(routes)
    return {one.endpoint: one.path for one in contexts if one.endpoint is not None and one.path}
